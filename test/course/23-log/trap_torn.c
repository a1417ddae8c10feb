/* SPDX-License-Identifier: MIT */
/* Broken: a record is a length and a text. What is not zero is taken for a record. */
#include "test/course/23-log/disk.h"

static size_t put(char *out, const char *text)
{
	size_t size = strlen(text);

	put_be32((unsigned char *)out, (uint32_t)size);
	memcpy(out + 4, text, size);
	return 4 + size;
}

static size_t recover_all(const char *data, size_t len, struct texts *texts)
{
	size_t end = 0, size;

	texts->n = 0;
	while (texts->n < TEXTS && len - end >= 4 &&
		(size = get_be32((const unsigned char *)data + end)) > 0) {
		if (size >= TEXT_SIZE || size > len - end - 4)
			break;
		memcpy(texts->list[texts->n], data + end + 4, size);
		texts->list[texts->n++][size] = '\0';
		end += 4 + size;
	}
	return end;
}

static int publish(struct disk *d, size_t *end, const char *text)
{
	char record[4 + TEXT_SIZE];
	size_t size = put(record, text);

	disk_sent(d, text);
	disk_write(d, *end, record, size);
	if (disk_sync(d) != 0)
		return -1;
	*end += size;
	disk_told(d, text);
	return 0;
}

int main(void)
{
	struct disk d = {.recover = recover_all};
	size_t end = 0;

	if (publish(&d, &end, "pay 1000 to 47") != 0)
		return 1;
	printf("1 message\n");
	return 0;
}
