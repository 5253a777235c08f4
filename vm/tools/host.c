// SPDX-License-Identifier: GPL-2.0
/*
 * host WORD...: ask the host that runs this guest; see vm/README.md for what it understands.
 * Prints the answer. Exit status 0, 1 (the host refused) or 4 (no host to ask: skip).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHANNEL "/dev/host"

int main(int argc, char **argv)
{
	char line[4096] = "";
	size_t len = 0;
	int fd;

	for (int i = 1; i < argc; i++) {
		if (len + strlen(argv[i]) + 2 > sizeof(line))
			errx(1, "too long");
		len += sprintf(line + len, "%s%s", i > 1 ? " " : "", argv[i]);
	}
	line[len++] = '\n';

	/* The port can be open once at a time, which keeps question and answer together. */
	while ((fd = open(CHANNEL, O_RDWR)) < 0 && errno == EBUSY)
		usleep(1000);
	if (fd < 0) {
		warn(CHANNEL);
		return 4;
	}
	if (write(fd, line, len) != (ssize_t)len)
		err(1, "write");

	for (len = 0; len < sizeof(line) - 1; ) {
		ssize_t got = read(fd, line + len, sizeof(line) - 1 - len);

		if (got < 0)
			err(1, "read");
		if (!got)
			errx(1, "the host hung up");
		len += got;
		if (line[len - 1] == '\n')
			break;
	}
	line[len] = 0;
	if (strncmp(line, "ok", 2)) {
		fprintf(stderr, "%s", line);
		return 1;
	}
	printf("%s", line + 2 + (line[2] == ' '));
	return 0;
}
