// SPDX-License-Identifier: GPL-2.0
/*
 * kexec load|crash KERNEL INITRD COMMAND-LINE: load a kernel, to be started now or after a crash
 * kexec exec: start it, without stopping anything but what the kernel stops itself
 * Exit status 0, 1 (did not work) or 4 (the kernel cannot do it: skip).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

int main(int argc, char **argv)
{
	unsigned long flags = 0;

	if (argc == 2 && !strcmp(argv[1], "exec")) {
		reboot(RB_KEXEC);
		err(1, "reboot");
	}
	if (argc != 5 || (strcmp(argv[1], "load") && strcmp(argv[1], "crash")))
		errx(1, "usage: kexec load|crash KERNEL INITRD COMMAND-LINE, or: kexec exec");
	if (!strcmp(argv[1], "crash"))
		flags |= KEXEC_FILE_ON_CRASH;
	if (syscall(SYS_kexec_file_load, open_file(argv[2]), open_file(argv[3]), strlen(argv[4]) + 1, argv[4], flags))
		err(errno == ENOSYS ? 4 : 1, "kexec_file_load");
	return 0;
}
