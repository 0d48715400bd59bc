// SPDX-License-Identifier: GPL-2.0
/*
 * Loads and unloads clones of one module, lab/modules/placement, that differ in name and size:
 *
 *	clones load FIRST COUNTxSIZE...	loads clones one after the other, numbered from FIRST
 *	clones wave COUNT SIZE		loads COUNT at once, one by each of as many processes that
 *					wait at a barrier; each third fails in its init function
 *	clones churn STEPS SEED		loads or unloads one of 200 at random in each step, and now
 *					and then in the first half one of 20 that stay; in turns of
 *					500 steps most are loaded, then few. Unloads all but the 20
 *	clones unload COUNT SEED	unloads COUNT of those that are loaded in random order;
 *					all where COUNT is 0
 *	clones held			says which memory holds what is loaded
 *
 * SIZE is that of the text in KiB, or "real", a size that a real module has, which depends on the
 * clone's number. Both ways a clone has two pages of init text and 6000 bytes of read-only data more.
 *
 * Runs in the guest, where there is no C library: it is built with the kernel's nolibc.
 * Exits with 0, or with 1 and a message that names what failed.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/time.h>

#define TEMPLATE "/lab/placement/clone_000000.ko"
#define NAME "clone_000000"
#define NAME_LENGTH (sizeof(NAME) - 1)

#define PAGE 4096UL
#define BLOCK (2UL << 20)
#define INIT_TEXT 4096
#define RODATA 6000
/* How far a branch reaches. */
#define NEAR (128UL << 20)

/* Text in KiB of modules of the lab's kernel, each of a sixteenth of them. */
static const unsigned int real_text[] = {
	4, 4, 4, 4, 4, 4, 4, 4, 8, 8, 12, 16, 16, 24, 52, 328
};

static int fail(const char *what, const char *name)
{
	printf("clones: %s fails for %s, error %d\n", what, name, errno);
	return 1;
}

static void pause_for(long milliseconds)
{
	struct timespec pause = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	syscall(__NR_nanosleep, &pause, NULL);
}

/* The same numbers from the same seed, on any kernel. */
static unsigned long seed;

static unsigned long random_below(unsigned long limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % limit;
}

/* Returns a file's contents, with a zero behind, for free(); NULL where there is no such file. */
static char *contents(const char *path, long *length)
{
	long size = 0, room = 1 << 16, got;
	char *data = malloc(room + 1);
	int fd = open(path, O_RDONLY);

	while (fd >= 0 && data && (got = read(fd, data + size, room - size)) > 0) {
		size += got;
		if (size == room) {
			room *= 2;
			data = realloc(data, room + 1);
		}
	}
	if (fd < 0 || !data) {
		free(data);
		return NULL;
	}
	close(fd);
	data[size] = 0;
	if (length)
		*length = size;
	return data;
}

/* ---- The template */

static struct {
	char *image;
	long size;
	/* Where its name is. */
	char *names[64];
	int name_count;
	Elf64_Shdr *text, *init_text, *rodata;
	/* Bytes of text without what fills it. */
	unsigned long own_text;
} template;

static int read_template(void)
{
	Elf64_Shdr *sections;
	Elf64_Ehdr *header;
	const char *names;

	template.image = contents(TEMPLATE, &template.size);
	if (!template.image)
		return fail("reading", TEMPLATE);
	for (char *at = template.image; at < template.image + template.size - NAME_LENGTH; at++) {
		if (memcmp(at, NAME, NAME_LENGTH))
			continue;
		if (template.name_count == sizeof(template.names) / sizeof(template.names[0]))
			return fail("counting the name", TEMPLATE);
		template.names[template.name_count++] = at;
	}

	header = (Elf64_Ehdr *)template.image;
	sections = (Elf64_Shdr *)(template.image + header->e_shoff);
	names = template.image + sections[header->e_shstrndx].sh_offset;
	for (int i = 0; i < header->e_shnum; i++) {
		const char *name = names + sections[i].sh_name;

		if (!strcmp(name, ".text_fill"))
			template.text = &sections[i];
		else if (!strcmp(name, ".init.text_fill"))
			template.init_text = &sections[i];
		else if (!strcmp(name, ".rodata_fill"))
			template.rodata = &sections[i];
		else if ((sections[i].sh_flags & SHF_EXECINSTR) && strncmp(name, ".init", 5))
			template.own_text += sections[i].sh_size;
	}
	if (!template.name_count || !template.text || !template.init_text || !template.rodata)
		return fail("looking for the name and the sections", TEMPLATE);
	/* PLTs come on top. */
	template.own_text += 512;
	template.init_text->sh_size = INIT_TEXT;
	template.rodata->sh_size = RODATA;
	return 0;
}

static void name_of(int number, char *name)
{
	snprintf(name, NAME_LENGTH + 1, "clone_%06d", number);
}

/* How much text a clone has that is as large as a real module. */
static unsigned long real_size(int number)
{
	return real_text[number * 7 % (sizeof(real_text) / sizeof(real_text[0]))] << 10;
}

static int load(int number, unsigned long text, const char *parameters)
{
	char name[NAME_LENGTH + 1];

	name_of(number, name);
	for (int i = 0; i < template.name_count; i++)
		memcpy(template.names[i], name, NAME_LENGTH);
	template.text->sh_size = text > template.own_text ? text - template.own_text : 4;
	if (syscall(__NR_init_module, template.image, template.size, parameters))
		return errno;
	return 0;
}

static int unload(int number)
{
	char name[NAME_LENGTH + 1];

	name_of(number, name);
	if (syscall(__NR_delete_module, name, O_NONBLOCK))
		return fail("delete_module", name);
	return 0;
}

/* ---- Where clones are */

struct clone {
	int number;
	unsigned long text, text_size, rodata, late;
};

struct area {
	unsigned long start, end;
	bool has_text, has_rodata;
};

#define CLONES 2000

static struct clone clones[CLONES];
static int clone_count;
static struct area areas[4000];
static int area_count;
static unsigned long kernel_start, kernel_end;

static unsigned long section(const char *name, const char *section)
{
	char path[128], *text;
	unsigned long address;

	snprintf(path, sizeof(path), "/sys/module/%s/sections/%s", name, section);
	text = contents(path, NULL);
	if (!text)
		return 0;
	address = strtoul(text, NULL, 16);
	free(text);
	return address;
}

/* Notes where a clone is. */
static int note(int number, unsigned long text_size)
{
	char name[NAME_LENGTH + 1];
	struct clone *clone = &clones[clone_count];

	name_of(number, name);
	clone->number = number;
	clone->text = section(name, ".text") & -PAGE;
	clone->text_size = (text_size + PAGE - 1) & -PAGE;
	clone->rodata = section(name, ".rodata_fill");
	clone->late = section(name, ".data..ro_after_init");
	if (!clone->text || !clone->rodata || !clone->late)
		return fail("reading the sections", name);
	clone_count++;
	return 0;
}

/* Notes all clones that are loaded, in the order of /proc/modules: the newest first. */
static int note_all(void)
{
	char *modules = contents("/proc/modules", NULL), *line = modules;

	clone_count = 0;
	while (line && *line) {
		char *end = strchr(line, '\n');

		if (!strncmp(line, "clone_", 6)) {
			int number = atoi(line + 6);

			if (clone_count == CLONES)
				return fail("counting", "too many clones");
			if (note(number, 0))
				return 1;
		}
		line = end ? end + 1 : NULL;
	}
	free(modules);
	return 0;
}

/* Notes the areas of executable memory and of what else mm/execmem.c has allocated. */
static int note_areas(void)
{
	char *list = contents("/proc/vmallocinfo", NULL), *line = list;

	area_count = 0;
	while (line && *line) {
		char *end = strchr(line, '\n'), *rest, *caller;
		struct area *area = &areas[area_count];

		if (end)
			*end = 0;
		area->start = strtoul(line, &rest, 16);
		area->end = strtoul(rest + 1, &rest, 16);
		strtoul(rest, &caller, 10);
		/* A guard page is no part of it. */
		if (area->end - area->start > BLOCK)
			area->end = area->start + ((area->end - area->start) & -BLOCK);
		area->has_text = false;
		area->has_rodata = false;
		if (!strncmp(caller, " execmem_", 9) || !strncmp(caller, " __execmem_", 11))
			area_count++;
		if (area_count == sizeof(areas) / sizeof(areas[0]))
			return fail("counting", "too many areas");
		line = end ? end + 1 : NULL;
	}
	free(list);
	for (int i = 0; i < clone_count; i++) {
		for (int j = 0; j < area_count; j++) {
			struct area *area = &areas[j];
			struct clone *clone = &clones[i];

			area->has_text |= clone->text >= area->start && clone->text < area->end;
			area->has_rodata |= clone->rodata >= area->start && clone->rodata < area->end;
			area->has_rodata |= clone->late >= area->start && clone->late < area->end;
		}
	}
	return 0;
}

static int find_kernel(void)
{
	char *symbols = contents("/proc/kallsyms", NULL), *line = symbols;

	while (line && *line && !(kernel_start && kernel_end)) {
		char *end = strchr(line, '\n'), *name;
		unsigned long address = strtoul(line, &name, 16);

		if (end)
			*end = 0;
		if (!strcmp(name + 3, "_text"))
			kernel_start = address;
		if (!strcmp(name + 3, "_end"))
			kernel_end = address;
		line = end ? end + 1 : NULL;
	}
	free(symbols);
	return kernel_start && kernel_end ? 0 : fail("looking for _text and _end", "/proc/kallsyms");
}

/* Whether all of the kernel is in reach of a branch from all of this, and the other way. */
static bool is_near(unsigned long start, unsigned long end)
{
	return start >= kernel_end - NEAR && end <= kernel_start + NEAR;
}

/* How much is free in one piece in blocks of text near the kernel, as far as clones use them. */
static unsigned long room_near(void)
{
	unsigned long most = 0;

	for (int i = 0; i < area_count; i++) {
		unsigned long at = areas[i].start, next;

		if (!areas[i].has_text || !is_near(areas[i].start, areas[i].end))
			continue;
		while (at < areas[i].end) {
			/* From here to the next clone, and on behind it. */
			unsigned long behind = areas[i].end;

			next = areas[i].end;
			for (int j = 0; j < clone_count; j++) {
				if (clones[j].text >= at && clones[j].text < next) {
					next = clones[j].text;
					behind = next + clones[j].text_size;
				}
			}
			if (next - at > most)
				most = next - at;
			at = behind;
		}
	}
	return most;
}

/* ---- What is asked for */

static unsigned long size_of(const char *size, int number)
{
	return strcmp(size, "real") ? strtoul(size, NULL, 10) << 10 : real_size(number);
}

static int load_all(int number, int count, char **groups)
{
	if (find_kernel())
		return 1;
	for (int i = 0; i < count; i++) {
		int near = 0, far = 0, needless = 0, left;
		char *size;

		left = strtoul(groups[i], &size, 10);
		if (*size++ != 'x')
			return fail("reading a group", groups[i]);
		for (; left; left--, number++) {
			unsigned long text = size_of(size, number);
			struct clone *clone;
			int error;

			error = load(number, text, "");
			if (error) {
				errno = error;
				return fail("init_module", groups[i]);
			}
			if (clone_count == CLONES)
				return fail("counting", "too many clones");
			if (note(number, text))
				return 1;
			clone = &clones[clone_count - 1];
			if (is_near(clone->text, clone->text + clone->text_size)) {
				near++;
				continue;
			}
			far++;
			/* An area that was made for this one holds no other. */
			clone_count--;
			if (note_areas())
				return 1;
			/* With its init text, and what that of others may take for a moment. */
			if (room_near() >= clone->text_size + 4 * INIT_TEXT)
				needless++;
			clone_count++;
		}
		printf("clones: %s: %d near, %d far, %d of them though there was room near\n",
		       groups[i], near, far, needless);
	}
	return 0;
}

static int wave(int count, const char *size)
{
	volatile int *arrived = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int loaded = 0, failed = 0, gate[2];

	if (arrived == MAP_FAILED || pipe(gate))
		return fail("mmap or pipe", "the barrier");
	for (int i = 0; i < count; i++) {
		int pid = fork();
		char byte;
		int error;

		if (pid < 0)
			return fail("fork", "a loader");
		if (pid)
			continue;
		/* Now the pages of the template are this process's own. */
		for (long at = 0; at < template.size; at += PAGE)
			((volatile char *)template.image)[at] += 0;
		close(gate[1]);
		__atomic_add_fetch(arrived, 1, __ATOMIC_SEQ_CST);
		read(gate[0], &byte, 1);
		error = load(i, size_of(size, i), i % 3 == 2 ? "fail=1" : "");
		if (error && error != ENODEV) {
			errno = error;
			fail("init_module", "a loader");
		}
		exit(error == ENODEV ? 1 : error ? 2 : 0);
	}
	while (*arrived < count)
		pause_for(1);
	/* The last one still has to get from there to read(). */
	pause_for(20);
	close(gate[0]);
	close(gate[1]);
	for (int i = 0; i < count; i++) {
		int status;

		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
			return fail("wait", "a loader");
		if (WEXITSTATUS(status))
			failed++;
		else
			loaded++;
	}
	printf("clones: %d loaded, %d failed\n", loaded, failed);
	return failed == count / 3 ? 0 : fail("counting failures", "the loaders");
}

#define POPULATION 200
#define STAYING 20
/* The number of the first of those that stay. */
#define STAY 1000

static int churn(int steps)
{
	static bool is_loaded[POPULATION];
	int done = 0, stay = 0, loads = 0, error = 0;

	while (done < steps) {
		int number = random_below(POPULATION);
		/* Most are loaded in one turn, few in the next. */
		bool wanted = random_below(4) < (done / 500 % 2 ? 1 : 3);
		unsigned long size = real_size(random_below(1000));

		if (stay < STAYING && done >= stay * steps / (2 * STAYING)) {
			error = load(STAY + stay, real_size(STAY + stay), "");
			stay++;
		}
		if (error)
			break;
		if (wanted == is_loaded[number])
			continue;
		if (!wanted && unload(number))
			return 1;
		if (wanted) {
			error = load(number, size, "");
			loads++;
		}
		is_loaded[number] = wanted;
		done++;
	}
	if (error) {
		errno = error;
		return fail("init_module", "a clone");
	}
	for (int number = 0; number < POPULATION; number++) {
		if (is_loaded[number] && unload(number))
			return 1;
	}
	printf("clones: %d loads and %d unloads beside %d that stay\n", loads, done - loads, stay);
	return 0;
}

static int unload_random(int count)
{
	if (note_all())
		return 1;
	if (!count)
		count = clone_count;
	for (int done = 0; done < count; done++) {
		int chosen;

		if (!clone_count)
			return fail("counting", "what is loaded");
		chosen = random_below(clone_count);
		if (unload(clones[chosen].number))
			return 1;
		clones[chosen] = clones[--clone_count];
	}
	printf("clones: %d unloaded, %d left\n", count, clone_count);
	return 0;
}

static int held(void)
{
	unsigned long text = 0, rodata = 0;

	if (note_all() || note_areas())
		return 1;
	for (int i = 0; i < area_count; i++) {
		unsigned long size = areas[i].end - areas[i].start;

		text += areas[i].has_text ? size : 0;
		rodata += areas[i].has_rodata ? size : 0;
	}
	printf("%d clones hold %lu kB for text and %lu kB for read-only data\n", clone_count,
	       text >> 10, rodata >> 10);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (read_template())
		return 1;
	if (!strcmp(what, "load") && argc > 3)
		return load_all(atoi(argv[2]), argc - 3, argv + 3);
	if (!strcmp(what, "wave") && argc == 4)
		return wave(atoi(argv[2]), argv[3]);
	if (!strcmp(what, "held") && argc == 2)
		return held();
	if (argc == 4)
		seed = strtoul(argv[3], NULL, 10) * 2654435761UL | 1;
	if (!strcmp(what, "churn") && argc == 4)
		return churn(atoi(argv[2]));
	if (!strcmp(what, "unload") && argc == 4)
		return unload_random(atoi(argv[2]));
	printf("usage: clones load FIRST COUNTxSIZE... | wave COUNT SIZE | churn STEPS SEED |\n"
	       "\tunload COUNT SEED | held\n");
	return 2;
}
