/* SPDX-License-Identifier: MIT */
/* Broken: the OK is sent when the messages are written, and the sync comes a little later. */
#include "test/course/23-log/disk.h"

static void publish(struct disk *d, size_t *end, const char *text)
{
	char record[RECORD_HEAD + TEXT_SIZE];
	size_t size = put_record(record, text);

	disk_sent(d, text);
	disk_write(d, *end, record, size);
	*end += size;
	disk_told(d, text);
}

int main(void)
{
	struct disk d = {.recover = recover};
	size_t end = 0;

	for (int i = 0; i < 3; i++) {
		publish(&d, &end, "pay 1000");
		publish(&d, &end, "pay 2000");
		if (disk_sync(&d) != 0) /* for both: that is cheaper */
			return 1;
	}
	printf("6 messages\n");
	return 0;
}
