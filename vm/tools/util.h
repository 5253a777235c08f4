/* SPDX-License-Identifier: GPL-2.0 */
/* What the guest's small programs have in common */
#ifndef UTIL_H
#define UTIL_H

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KB 1024UL
#define MB (1024 * KB)
#define PAGE 4096UL
#define CHANNEL "/dev/host"

static inline void must(bool ok, const char *what)
{
	if (!ok)
		err(1, "%s", what);
}

/* Nanoseconds; signed, as differences may be negative */
static inline int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/*
 * Send a line to the host that runs this guest, and wait for its line. The port can be open once
 * at a time; the tag tells our answer from one to a program that was killed before reading it.
 * False if there is no host to ask.
 */
static inline bool host_ask(const char *question, char *answer, size_t size)
{
	char tag[16];
	FILE *port;
	int fd, len;

	while ((fd = open(CHANNEL, O_RDWR | O_CLOEXEC)) < 0 && errno == EBUSY)
		usleep(1000);
	if (fd < 0)
		return false;
	len = sprintf(tag, "#%d ", getpid());
	must(dprintf(fd, "%s%s", tag, question) > 0, CHANNEL);
	port = fdopen(fd, "r");
	must(port, CHANNEL);
	do {
		if (!fgets(answer, size, port))
			errx(1, "the host hung up");
	} while (strncmp(answer, tag, len));
	fclose(port);
	memmove(answer, answer + len, strlen(answer + len) + 1);
	return true;
}

#endif
