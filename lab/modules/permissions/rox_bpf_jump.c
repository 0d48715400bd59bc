// SPDX-License-Identifier: GPL-2.0
/*
 * A long jump of the BPF JIT: the entry of a program is made to call a function that is too far
 * away for a branch, through an address behind the program's code. That is written as text is,
 * in memory that is read-only and executable, and stays so. Loading the module does it, and fails
 * with EAGAIN if all was as it should be.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/init.h>
#include <linux/math.h>
#include <linux/module.h>
#include <linux/sizes.h>

#include "kernel_tables.h"

#define RESULT	42

static int (*text_poke)(void *ip, enum bpf_text_poke_type old_t, enum bpf_text_poke_type new_t,
			void *old_addr, void *new_addr);
static void (*kallsyms_add)(struct bpf_prog *prog);
static void (*kallsyms_del)(struct bpf_prog *prog);
/* Returns to the program that calls it. */
static void *dummy_tramp;

static int check(struct bpf_prog *prog, const char *when, const void *function, bool run)
{
	const void *text = prog->bpf_func;
	/* bpf_arch_text_poke() finds it at the end of the code, too. */
	const u64 *target = text + prog->jited_len;
	struct leaf leaf = leaf_at((unsigned long)target);

	if (!leaf.size || leaf.attributes != attributes_with(leaf.attributes, true, true)) {
		pr_err("%s: the text is not read-only and executable\n", when);
		return -EIO;
	}
	if (*target != (u64)function) {
		pr_err("%s: the jump is to %pS\n", when, (void *)*target);
		return -EIO;
	}
	if (run && prog->bpf_func(NULL, prog->insnsi) != RESULT) {
		pr_err("%s: the program returns something else\n", when);
		return -EIO;
	}
	return 0;
}

/* From @from to @to; one that is %NULL stands for no call. */
static int poke(struct bpf_prog *prog, void *from, void *to)
{
	int ret = text_poke(prog->bpf_func, from ? BPF_MOD_CALL : BPF_MOD_NOP,
			    to ? BPF_MOD_CALL : BPF_MOD_NOP, from, to);

	if (ret)
		pr_err("from %pS to %pS: %d\n", from, to, ret);
	return ret;
}

static int poke_and_check(struct bpf_prog *prog)
{
	/* Is not called: any function of the kernel. */
	void *other = text_poke;

	if (abs_diff((unsigned long)prog->bpf_func, (unsigned long)dummy_tramp) < SZ_128M ||
	    abs_diff((unsigned long)prog->bpf_func, (unsigned long)other) < SZ_128M) {
		pr_err("the kernel is near enough for a branch\n");
		return -ERANGE;
	}
	return check(prog, "at first", dummy_tramp, true) ?:
	       poke(prog, NULL, dummy_tramp) ?:
	       check(prog, "with a call", dummy_tramp, true) ?:
	       poke(prog, dummy_tramp, other) ?:
	       check(prog, "with another call", other, false) ?:
	       poke(prog, other, dummy_tramp) ?:
	       check(prog, "with the first call again", dummy_tramp, true) ?:
	       poke(prog, dummy_tramp, NULL) ?:
	       check(prog, "without a call", dummy_tramp, true);
}

static int __init rox_bpf_jump_init(void)
{
	const struct bpf_insn insns[] = { BPF_MOV64_IMM(BPF_REG_0, RESULT), BPF_EXIT_INSN() };
	struct bpf_prog *prog;
	int ret;

	ret = find_kernel_tables();
	if (ret)
		return ret;
	text_poke = lookup("bpf_arch_text_poke");
	kallsyms_add = lookup("bpf_prog_kallsyms_add");
	kallsyms_del = lookup("bpf_prog_kallsyms_del");
	dummy_tramp = lookup("dummy_tramp");
	if (!text_poke || !kallsyms_add || !kallsyms_del || !dummy_tramp)
		return -ENOENT;

	prog = bpf_prog_alloc(bpf_prog_size(ARRAY_SIZE(insns)), 0);
	if (!prog)
		return -ENOMEM;
	prog->type = BPF_PROG_TYPE_SOCKET_FILTER;
	prog->len = ARRAY_SIZE(insns);
	memcpy(prog->insnsi, insns, sizeof(insns));
	prog = bpf_prog_select_runtime(prog, &ret);
	if (!ret && !prog->jited)
		ret = -EOPNOTSUPP;
	if (!ret) {
		kallsyms_add(prog);
		ret = poke_and_check(prog);
		kallsyms_del(prog);
	}
	bpf_prog_free(prog);
	return ret ?: -EAGAIN;
}

module_init(rox_bpf_jump_init);
MODULE_DESCRIPTION("Long jumps of BPF programs");
MODULE_LICENSE("GPL");
