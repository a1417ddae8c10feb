/* SPDX-License-Identifier: MIT */
/* Broken: a sync that has failed is tried once more. */
#include "test/course/23-log/disk.h"

static int publish(struct disk *d, size_t *end, const char *text)
{
	char record[RECORD_HEAD + TEXT_SIZE];
	size_t size = put_record(record, text);

	disk_sent(d, text);
	disk_write(d, *end, record, size);
	if (disk_sync(d) != 0 && disk_sync(d) != 0) /* perhaps it was a moment's weakness */
		return -1;
	*end += size;
	disk_told(d, text);
	return 0;
}

int main(void)
{
	struct disk d = {.recover = recover};
	size_t end = 0;

	if (publish(&d, &end, "pay 1000") != 0)
		return 1;
	d.bad = true;
	if (publish(&d, &end, "pay 2000") != 0)
		return 1;
	printf("2 messages\n");
	return 0;
}
