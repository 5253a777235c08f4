// SPDX-License-Identifier: GPL-2.0
/*
 * host WORD...: ask the host that runs this guest; see vm/README.md for what it understands.
 * Prints the answer. Exit status 0, 1 (the host refused) or 4 (no host to ask: skip).
 */
#include <stdio.h>

#include "util.h"

int main(int argc, char **argv)
{
	char line[4096] = "";
	size_t len = 0;

	for (int i = 1; i < argc; i++) {
		if (len + strlen(argv[i]) + 3 > sizeof(line))
			errx(1, "too long");
		len += sprintf(line + len, "%s%s", i > 1 ? " " : "", argv[i]);
	}
	line[len++] = '\n';
	line[len] = 0;
	if (!host_ask(line, line, sizeof(line))) {
		warn(CHANNEL);
		return 4;
	}
	if (strncmp(line, "ok", 2)) {
		fprintf(stderr, "%s", line);
		return 1;
	}
	printf("%s", line + 2 + (line[2] == ' '));
	return 0;
}
