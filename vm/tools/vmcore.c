// SPDX-License-Identifier: GPL-2.0
/*
 * vmcore plant NAME PAGES [FRAME]: lock pages of computed content in memory, but not in this frame, say so, and wait
 * vmcore file NAME PAGES PATH: write such pages to a file
 * vmcore check [NAME...]: read /proc/vmcore whole, by read and by mmap, compare both,
 *	print the number of pages of each name found, and of pages that hold nothing but zeros
 */
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	4096UL
#define CHUNK	(1UL << 20)
#define WORDS	(PAGE / sizeof(uint64_t))
#define NAMES	8
#define MAGIC	0x7068766d636f7265UL

static const unsigned char zeros[PAGE];

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15;
	return x ^ x >> 29;
}

static uint64_t name_id(const char *name)
{
	uint64_t id = 0;

	while (*name)
		id = mix(id + (unsigned char)*name++);
	return id;
}

/* The magic is stored inverted, so that no code and no register holds what a page begins with. */
static void fill(uint64_t *page, uint64_t id, uint64_t index)
{
	page[0] = ~MAGIC;
	page[1] = id;
	page[2] = index;
	for (unsigned int i = 3; i < WORDS; i++)
		page[i] = mix(id + index * WORDS + i);
}

static uint64_t frame_of(const void *addr)
{
	static int fd = -1;
	uint64_t entry;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY);
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)addr / PAGE * sizeof(entry)) != sizeof(entry))
		err(1, "/proc/self/pagemap");
	return entry & ((1UL << 55) - 1);
}

/* In no frame of this number, if it is not 0 */
static int plant(const char *name, unsigned long pages, const char *path, unsigned long not_here)
{
	unsigned long size = (pages + !!not_here) * PAGE;
	int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;
	uint64_t *map;

	if (path && (fd < 0 || ftruncate(fd, size)))
		err(1, "%s", path);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, (path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), fd, 0);
	if (map == MAP_FAILED || (!path && mlock(map, size)))
		err(1, "memory for %lu pages", pages);
	for (unsigned long i = 0; i < pages; i++) {
		if (not_here && frame_of(map) == not_here)
			map += WORDS;
		fill(map, name_id(name), i);
		map += WORDS;
	}
	if (path)
		return fsync(fd) ? 1 : 0;
	puts("planted");
	fflush(stdout);
	for (;;)
		pause();
}

struct seen {
	const char *name;
	uint64_t id;
	unsigned long found, twice, damaged;
	unsigned char index[1 << 20];
};

static struct seen seen[NAMES];
static int names;
static unsigned long zero, total;

static void look(const uint64_t *page)
{
	uint64_t want[WORDS];

	total++;
	if (!memcmp(page, zeros, PAGE)) {
		zero++;
		return;
	}
	if (page[0] != ~MAGIC)
		return;
	for (struct seen *s = seen; s < seen + names; s++) {
		if (page[1] != s->id || page[2] >= sizeof(s->index))
			continue;
		fill(want, s->id, page[2]);
		if (memcmp(page, want, PAGE)) {
			s->damaged++;
		} else if (s->index[page[2]]) {
			s->twice++;
		} else {
			s->index[page[2]] = 1;
			s->found++;
		}
	}
}

/* Is there a page of memory at this place of the file? */
static int is_memory(int fd, const Elf64_Ehdr *ehdr, unsigned long off)
{
	static Elf64_Phdr phdrs[64];
	static int n;

	if (!n) {
		n = ehdr->e_phnum;
		if (n > 64 || pread(fd, phdrs, n * sizeof(*phdrs), ehdr->e_phoff) != (ssize_t)(n * sizeof(*phdrs)))
			err(1, "program headers");
	}
	for (Elf64_Phdr *p = phdrs; p < phdrs + n; p++) {
		if (p->p_type != PT_LOAD || off < p->p_offset || off - p->p_offset >= p->p_filesz)
			continue;
		/* the kernel's image is a segment of its own, and is in that of its memory, too */
		for (Elf64_Phdr *o = phdrs; o < phdrs + n; o++)
			if (o->p_type == PT_LOAD && o->p_filesz > p->p_filesz && o->p_paddr <= p->p_paddr &&
			    o->p_paddr + o->p_filesz >= p->p_paddr + p->p_filesz)
				return 0;
		return 1;
	}
	return 0;
}

static int check(char **argv)
{
	static unsigned char buf[CHUNK] __attribute__((aligned(4096)));
	unsigned long off, len, differ = 0, mapped = 0, got;
	int fd = open("/proc/vmcore", O_RDONLY);
	struct stat st;
	Elf64_Ehdr ehdr;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		err(1, "/proc/vmcore");
	if (pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) || memcmp(ehdr.e_ident, ELFMAG, SELFMAG))
		errx(1, "/proc/vmcore is no ELF file");
	for (; *argv && names < NAMES; argv++, names++) {
		seen[names].name = *argv;
		seen[names].id = name_id(*argv);
	}
	/* Whole means whole: headers and notes, too, and a rest that is no whole chunk. */
	for (off = 0; off < (unsigned long)st.st_size; off += len) {
		const unsigned char *map;

		len = (unsigned long)st.st_size - off < CHUNK ? (unsigned long)st.st_size - off : CHUNK;
		for (got = 0; got < len; got += n) {
			n = pread(fd, buf + got, len - got, off + got);
			if (n <= 0)
				err(1, "read at %#lx", off + got);
		}
		map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, off);
		if (map == MAP_FAILED)
			err(1, "mmap at %#lx", off);
		mapped += len;
		for (unsigned long i = 0; i < len; i += PAGE) {
			if (memcmp(map + i, buf + i, len - i < PAGE ? len - i : PAGE))
				differ++;
			if (is_memory(fd, &ehdr, off + i))
				look((uint64_t *)(buf + i));
		}
		munmap((void *)map, len);
	}
	printf("bytes=%lu mapped=%lu differ=%lu pages=%lu zero=%lu", (unsigned long)st.st_size, mapped, differ, total, zero);
	for (int i = 0; i < names; i++)
		printf(" %s=%lu %s-twice=%lu %s-damaged=%lu", seen[i].name, seen[i].found, seen[i].name, seen[i].twice,
		       seen[i].name, seen[i].damaged);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "check"))
		return check(argv + 2);
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "plant"))
		return plant(argv[2], strtoul(argv[3], NULL, 0), NULL, argc == 5 ? strtoul(argv[4], NULL, 0) : 0);
	if (argc == 5 && !strcmp(argv[1], "file"))
		return plant(argv[2], strtoul(argv[3], NULL, 0), argv[4], 0);
	errx(1, "usage: vmcore plant NAME PAGES [FRAME] | file NAME PAGES PATH | check [NAME]...");
}
