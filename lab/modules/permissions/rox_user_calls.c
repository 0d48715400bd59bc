// SPDX-License-Identifier: GPL-2.0
/*
 * What others than a cache do to memory of the cache: each function of the kernel that changes
 * permissions, called on pages of
 *
 *   - this module's text, read-only data, data that is read-only after init, and data,
 *   - a page of kprobes, and the image of a BPF program.
 *
 *   echo 1 >/sys/module/rox_user_calls/parameters/run
 *
 * makes all calls, with a look after each at every page of the vmalloc area, which is the block
 * where the memory is in a cache: at its mapping, and at its linear alias. It fails with EIO if
 *
 *   - a call returns something else than it should,
 *   - the pages that were to change are not as they should be, or others have changed,
 *   - the linear alias of memory in a cache has changed, or a page is executable with an alias,
 *     or through a mapping, that is writable. (Without kpgtable_supported() the kernel permits that.)
 *
 *   echo 1 >/sys/module/rox_user_calls/parameters/leave
 *
 * makes calls that unloading the module has to undo. data_alias is the linear alias of a page of
 * its data that they change.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/execmem.h>
#include <linux/filter.h>
#include <linux/init.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "caches.h"

/* Whole pages of text that nothing else is in, and an instruction for a kprobe. */
#define TEXT_PAGES	2
asm("	.pushsection .text\n"
    "	.balign	4\n"
    "	.globl	rox_user_calls_text\n"
    "rox_user_calls_text:\n"
    "	add	x0, x0, #1\n"
    "	.rept	" __stringify((TEXT_PAGES + 1) * PAGE_SIZE / 4) "\n"
    "	nop\n"
    "	.endr\n"
    "	.popsection");
extern u32 rox_user_calls_text[];

#define DATA_WORDS	(3 * PAGE_SIZE / sizeof(long))
static const unsigned long rodata[DATA_WORDS] = { 1 };
static unsigned long after_init[DATA_WORDS] __ro_after_init = { 1 };
static unsigned long data[DATA_WORDS] = { 1 };

enum { TEXT, RODATA, AFTER_INIT, DATA, KPROBE, BPF, KINDS };
static const char *const kinds[KINDS] = {
	"text", "read-only data", "data that is read-only after init", "data",
	"a page of kprobes", "the image of a BPF program",
};

static unsigned long data_alias;
module_param(data_alias, ulong, 0444);

static struct vm_struct *(*find_area)(const void *addr);
static int (*set_invalid)(struct page *page);
static int (*set_default)(struct page *page);
static int (*set_valid)(struct page *page, unsigned int nr, bool valid);
static int (*set_memory_valid_p)(unsigned long addr, int numpages, int enable);
static int (*set_encrypted)(unsigned long addr, int numpages);
static int (*set_decrypted)(unsigned long addr, int numpages);
static void *(*alloc)(enum execmem_type type, size_t size);
static void (*free)(void *ptr);

/* Whether the kernel refuses to make memory writable and executable. */
static bool guarded;
/* Whether leaves of the linear map keep their size, so that aliases of single pages do not change. */
static bool whole;

/* What the page at @addr and its neighbours are. */
static struct tested {
	const char *what;
	unsigned long addr;
	/* The part of a cache, or the vmalloc area. */
	unsigned long start, end;
	bool cached;
	/* What the page was at first, and is now; its linear alias, too. */
	u8 first, flags;
	bool alias_ro;
	/* The vmalloc area. */
	unsigned long area;
	unsigned int pages;
	struct pair {
		struct leaf mapping, alias;
	} *before;
} t;

static const char *doing;
static unsigned int made, problems;

#define problem(fmt, ...)							\
do {										\
	if (problems++ < 40)							\
		pr_err("%s, %s: " fmt "\n", t.what, doing, ##__VA_ARGS__);	\
} while (0)

static struct pair look(unsigned long addr)
{
	struct pair pair = { .mapping = leaf_at(addr) };

	if (pair.mapping.size)
		pair.alias = leaf_at((unsigned long)phys_to_virt(pair.mapping.phys));
	return pair;
}

static bool is_writable(const struct leaf *leaf)
{
	return !(leaf->attributes & PTE_RDONLY);
}

static const char *describe(char *buffer, const struct leaf *leaf)
{
	sprintf(buffer, "%s %s %s", leaf->attributes & PTE_VALID ? "valid" : "invalid",
		is_writable(leaf) ? "RW" : "ro", leaf->attributes & PTE_PXN ? "nx" : "X");
	return buffer;
}

static void check_leaf(unsigned int page, const char *which, const struct leaf *is,
		       const struct leaf *before, pteval_t wanted)
{
	char buffer[2][32];
	struct leaf should = { .attributes = wanted };

	if (is->attributes != wanted || is->phys != before->phys)
		problem("%s of page %u of %u is %s, and not %s", which, page, t.pages,
			describe(buffer[0], is), describe(buffer[1], &should));
}

/* Whether all of the area is as it should be. */
static void verify(void)
{
	unsigned int page = (t.addr - t.area) / PAGE_SIZE, split = 0;

	for (unsigned int i = 0; i < t.pages; i++) {
		struct pair *before = &t.before[i], now = look(t.area + i * PAGE_SIZE);
		pteval_t mapping = before->mapping.attributes, alias = before->alias.attributes;

		if (i == page) {
			mapping = attributes_with(mapping, t.flags & READONLY,
						  t.flags & EXECUTABLE);
			if (!t.cached)
				alias = attributes_with(alias, t.alias_ro, false);
		}
		check_leaf(i, "the mapping", &now.mapping, &before->mapping, mapping);
		check_leaf(i, "the alias", &now.alias, &before->alias, alias);
		split += t.cached && now.alias.size != before->alias.size;
		if (guarded && !(now.mapping.attributes & PTE_PXN) &&
		    (is_writable(&now.mapping) || is_writable(&now.alias)))
			problem("page %u of %u is executable and writable", i, t.pages);
	}
	if (split)
		problem("the alias of %u of %u pages was split", split, t.pages);
}

static int make(int call)
{
	u8 needs = guarded ? calls[call].needs : 0;
	u8 rules_out = guarded ? calls[call].rules_out : 0;
	int wanted = (t.flags & needs) != needs || t.flags & rules_out ? -EINVAL : 0;
	int ret = calls[call].function(t.addr, 1);

	if (whole && !t.cached && calls[call].set & EXECUTABLE)
		wanted = -EINVAL;

	made++;
	doing = calls[call].name;
	if (ret != wanted)
		problem("returns %d, and not %d", ret, wanted);
	if (!ret) {
		update_flags(&t.flags, 1, call);
		if (!whole && (calls[call].set | calls[call].clear) & READONLY)
			t.alias_ro = t.flags & READONLY;
	}
	verify();
	return ret;
}

/* Make the page what it was at first. */
static void restore(void)
{
	if (t.first & EXECUTABLE) {
		make(ROX);
	} else {
		make(NX);
		make(t.first & READONLY ? RO : RW);
	}
}

/* Each of them after each. */
static void test_pairs(void)
{
	for (int first = 0; first < CALLS; first++) {
		for (int second = 0; second < CALLS; second++) {
			make(first);
			make(second);
			restore();
		}
	}
}

static bool expect(const char *name, int ret, int wanted)
{
	doing = name;
	made++;
	if (ret != wanted)
		problem("returns %d, and not %d", ret, wanted);
	return ret == wanted;
}

/* Whether a call does not change memory that is not all of one owner. */
static bool is_refused(int call, unsigned long addr, unsigned long pages)
{
	bool refused = expect(calls[call].name, calls[call].function(addr, pages), -EINVAL);

	verify();
	return refused;
}

/* No call changes a range that reaches beyond the part, or the area. */
static void test_bounds(void)
{
	/* What is free and in the same area. */
	unsigned long unused = 0;

	if (t.cached) {
		for (int i = 0; i < CACHES; i++) {
			MA_STATE(mas, &caches[i]->free_areas, t.area,
				 t.area + t.pages * PAGE_SIZE - 1);

			guard(mutex)(&caches[i]->mutex);
			if (mas_find(&mas, t.area + t.pages * PAGE_SIZE - 1))
				unused = max(mas.index, t.area);
		}
	}
	for (int call = 0; call < CALLS; call++) {
		/* Stock takes the guard page for a part of the area, and fails at its hole. */
		unsigned long pages = (t.end - t.addr) / PAGE_SIZE + (t.cached ? 1 : 2);

		/* Others may need what the next call would change. */
		if (!is_refused(call, t.addr, pages))
			break;
		if (t.cached && t.start > t.area && !is_refused(call, t.start - PAGE_SIZE, 2))
			break;
		if (unused && !is_refused(call, unused, 1))
			break;
	}
}

/* The linear alias, or the mapping, becomes invalid, or valid. */
static void test_validity(void)
{
	struct page *page = vmalloc_to_page((void *)t.addr);
	unsigned long alias = alias_of(page);
	int wanted = t.cached && !whole ? -EINVAL : 0;
	int refused = t.cached ? -EINVAL : 0;
	bool was_ro = t.alias_ro;

	expect("set_direct_map_invalid_noflush", set_invalid(page), wanted);
	if (t.cached || whole)
		verify();
	else if (look(t.addr).alias.attributes & PTE_VALID)
		problem("the alias is valid");
	expect("set_direct_map_default_noflush", set_default(page), wanted);
	if (!t.cached && !whole)
		t.alias_ro = false;
	verify();
	expect("set_direct_map_valid_noflush", set_valid(page, 1, false), wanted);
	if (t.cached)
		verify();
	expect("set_direct_map_valid_noflush", set_valid(page, 1, true), wanted);
	verify();
	expect("set_memory_valid, alias", set_memory_valid_p(alias, 1, 0),
	       t.cached || whole ? -EINVAL : 0);
	if (t.cached)
		verify();
	expect("set_memory_valid, alias", set_memory_valid_p(alias, 1, 1), refused);
	verify();
	expect("set_memory_valid, mapping", set_memory_valid_p(t.addr, 1, 0), refused);
	if (t.cached)
		verify();
	expect("set_memory_valid, mapping", set_memory_valid_p(t.addr, 1, 1), refused);
	verify();

	/* Not in a realm. */
	expect("set_memory_decrypted", set_decrypted(alias, 1), 0);
	verify();
	expect("set_memory_encrypted", set_encrypted(alias, 1), 0);
	verify();
	if (was_ro != t.alias_ro)
		make(RO);
}

/* Another mapping of the page is possible, and nothing is known of it. */
static void test_twin(void)
{
	struct page *page = vmalloc_to_page((void *)t.addr);
	u32 *twin = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	doing = "vmap";
	if (!twin) {
		problem("fails");
		return;
	}
	WRITE_ONCE(*twin, READ_ONCE(*twin));
	verify();
	expect("set_memory_ro, twin", calls[RO].function((unsigned long)twin, 1), -EINVAL);
	verify();
	doing = "vunmap";
	vunmap(twin);
	vm_unmap_aliases();
	verify();
}

/* Find the part of a cache that @addr is in. */
static bool find_part(unsigned long addr, unsigned long *start, unsigned long *end)
{
	for (int i = 0; i < CACHES; i++) {
		if (!caches[i])
			continue;

		MA_STATE(mas, &caches[i]->busy_areas, addr, addr);

		guard(mutex)(&caches[i]->mutex);
		if (mas_walk(&mas)) {
			*start = mas.index;
			*end = mas.last + 1;
			return true;
		}
	}
	return false;
}

static int test(const char *what, unsigned long addr)
{
	struct vm_struct *area = find_area((void *)addr);
	struct pair *pair;

	if (!area) {
		pr_err("%s is in no area\n", what);
		return -ENOENT;
	}
	t = (struct tested) {
		.what = what,
		.addr = addr,
		.area = (unsigned long)area->addr,
		.pages = get_vm_area_size(area) / PAGE_SIZE,
	};
	t.cached = find_part(addr, &t.start, &t.end);
	if (!t.cached) {
		t.start = t.area;
		t.end = t.area + t.pages * PAGE_SIZE;
	}
	t.before = kvmalloc_array(t.pages, sizeof(*t.before), GFP_KERNEL);
	if (!t.before)
		return -ENOMEM;
	for (unsigned int i = 0; i < t.pages; i++)
		t.before[i] = look(t.area + i * PAGE_SIZE);
	pair = &t.before[(addr - t.area) / PAGE_SIZE];
	if (!is_writable(&pair->mapping))
		t.flags |= READONLY;
	if (!(pair->mapping.attributes & PTE_PXN))
		t.flags |= EXECUTABLE;
	t.first = t.flags;
	t.alias_ro = !is_writable(&pair->alias);

	made = 0;
	doing = "before";
	if (t.cached && !t.alias_ro)
		problem("the alias is writable");
	test_pairs();
	test_bounds();
	test_validity();
	test_twin();
	restore();
	pr_info("%s, page %u of %u, %s: %u calls\n", t.what, (unsigned int)(t.addr - t.area) /
		(unsigned int)PAGE_SIZE, t.pages, t.cached ? "in a cache" : "in no cache", made);
	kvfree(t.before);
	return 0;
}

/* A page of kprobes has what is executed in the place of a probed instruction. */
static int test_kprobe(void)
{
	struct kprobe probe = {
		.addr = (kprobe_opcode_t *)rox_user_calls_text,
		.flags = KPROBE_FLAG_DISABLED,
	};
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	if (probe.ainsn.xol_insn) {
		ret = test(kinds[KPROBE], PAGE_ALIGN_DOWN((unsigned long)probe.ainsn.xol_insn));
	} else {
		pr_err("the kprobe has no slot\n");
		ret = -ENOENT;
	}
	unregister_kprobe(&probe);
	return ret;
}

static int test_bpf(void)
{
	const struct bpf_insn insns[] = { BPF_MOV64_IMM(BPF_REG_0, 0), BPF_EXIT_INSN() };
	struct bpf_prog *prog = bpf_prog_alloc(bpf_prog_size(ARRAY_SIZE(insns)), 0);
	int ret;

	if (!prog)
		return -ENOMEM;
	prog->type = BPF_PROG_TYPE_SOCKET_FILTER;
	prog->len = ARRAY_SIZE(insns);
	memcpy(prog->insnsi, insns, sizeof(insns));
	prog = bpf_prog_select_runtime(prog, &ret);
	if (!ret && !prog->jited)
		ret = -EOPNOTSUPP;
	if (!ret)
		ret = test(kinds[BPF], PAGE_ALIGN_DOWN((unsigned long)prog->bpf_func));
	bpf_prog_free(prog);
	return ret;
}

/* The first whole page behind @start. */
static unsigned long page_of(const void *start)
{
	unsigned long addr = PAGE_ALIGN((unsigned long)start);

	OPTIMIZER_HIDE_VAR(addr);
	return addr;
}

static int run(const char *value, const struct kernel_param *param)
{
	int ret;

	problems = 0;
	ret = test(kinds[TEXT], page_of(rox_user_calls_text)) ?:
	      test(kinds[RODATA], page_of(rodata)) ?:
	      test(kinds[AFTER_INIT], page_of(after_init)) ?:
	      test(kinds[DATA], page_of(data)) ?:
	      test_kprobe() ?:
	      test_bpf();
	if (problems)
		pr_err("%u problems\n", problems);
	return ret ?: problems ? -EIO : 0;
}

static const struct kernel_param_ops run_ops = { .set = run };
module_param_cb(run, &run_ops, NULL, 0200);

static void *left[2];

/* Two calls, and something is written if that makes the page writable. */
static int call_two(unsigned long addr, int first, int second)
{
	int ret = calls[first].function(addr, 1) ?: calls[second].function(addr, 1);

	if (ret)
		pr_err("%s and %s return %d\n", calls[first].name, calls[second].name, ret);
	else if (second == RW)
		memset((void *)addr, 0x1f, PAGE_SIZE);
	return ret;
}

static int leave(const char *value, const struct kernel_param *param)
{
	static const enum execmem_type types[] = { EXECMEM_KPROBES, EXECMEM_BPF };

	for (int i = 0; i < ARRAY_SIZE(types); i++) {
		left[i] = alloc(types[i], PAGE_SIZE);
		if (!left[i])
			return -ENOMEM;
	}
	return call_two((unsigned long)left[0], NX, RW) ?:
	       call_two((unsigned long)left[1], RO, NX) ?:
	       call_two(page_of(rox_user_calls_text), NX, RW) ?:
	       call_two(page_of(rox_user_calls_text) + PAGE_SIZE, RO, NX) ?:
	       call_two(page_of(rodata), NX, RW) ?:
	       call_two(page_of(rodata) + PAGE_SIZE, RO, X) ?:
	       call_two(page_of(after_init), NX, RW) ?:
	       call_two(page_of(after_init) + PAGE_SIZE, RO, X) ?:
	       call_two(page_of(data), RO, whole ? RO : X);
}

static const struct kernel_param_ops leave_ops = { .set = leave };
module_param_cb(leave, &leave_ops, NULL, 0200);

static int __init rox_user_calls_init(void)
{
	bool (*supported)(void);
	int ret;

	ret = find_kernel_tables() ?: find_calls();
	if (ret)
		return ret;
	find_caches();
	supported = (void *)lookup_name("kpgtable_supported");
	guarded = supported && supported();
	supported = (void *)lookup_name("kpgtable_whole_leaves");
	whole = supported && supported();
	find_area = lookup("find_vm_area");
	set_invalid = lookup("set_direct_map_invalid_noflush");
	set_default = lookup("set_direct_map_default_noflush");
	set_valid = lookup("set_direct_map_valid_noflush");
	set_memory_valid_p = lookup("set_memory_valid");
	set_encrypted = lookup("set_memory_encrypted");
	set_decrypted = lookup("set_memory_decrypted");
	alloc = lookup("execmem_alloc");
	free = lookup("execmem_free");
	if (!find_area || !set_invalid || !set_default || !set_valid || !set_memory_valid_p ||
	    !set_encrypted || !set_decrypted || !alloc || !free)
		return -ENOENT;

	data_alias = alias_of(vmalloc_to_page((void *)page_of(data)));
	return 0;
}

static void __exit rox_user_calls_exit(void)
{
	for (int i = 0; i < ARRAY_SIZE(left); i++)
		if (left[i])
			free(left[i]);
}

module_init(rox_user_calls_init);
module_exit(rox_user_calls_exit);
MODULE_DESCRIPTION("Changes of permissions by others than a cache, on memory of the cache");
MODULE_LICENSE("GPL");
