// SPDX-License-Identifier: GPL-2.0
/*
 * Functions for tracers, kprobes and a live patch. Each rox_traced_init_N() and each rox_traced_N() is
 * called once when this is loaded, and each rox_traced_N() once whenever something is written to the
 * parameter "call". Reading the parameter "answer" calls rox_traced_answer().
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/sysfs.h>

/* What the compiler cannot know, so that each of the functions is called. */
static unsigned int sum = 1;

#define FUNCTION(name, n)						\
	name(unsigned int value)					\
	{								\
		return READ_ONCE(sum) + value * 31 + (n);		\
	}

static noinline unsigned int FUNCTION(rox_traced_0, 0)
static noinline unsigned int FUNCTION(rox_traced_1, 1)
static noinline unsigned int FUNCTION(rox_traced_2, 2)
static noinline unsigned int FUNCTION(rox_traced_3, 3)
static noinline unsigned int FUNCTION(rox_traced_4, 4)
static noinline unsigned int FUNCTION(rox_traced_5, 5)
static noinline unsigned int FUNCTION(rox_traced_6, 6)
static noinline unsigned int FUNCTION(rox_traced_7, 7)

static noinline unsigned int __init FUNCTION(rox_traced_init_0, 0)
static noinline unsigned int __init FUNCTION(rox_traced_init_1, 1)
static noinline unsigned int __init FUNCTION(rox_traced_init_2, 2)
static noinline unsigned int __init FUNCTION(rox_traced_init_3, 3)

typedef unsigned int (*function)(unsigned int value);

static const function functions[] = {
	rox_traced_0, rox_traced_1, rox_traced_2, rox_traced_3,
	rox_traced_4, rox_traced_5, rox_traced_6, rox_traced_7,
};

static const function init_functions[] __initconst = {
	rox_traced_init_0, rox_traced_init_1, rox_traced_init_2, rox_traced_init_3,
};

static __always_inline int call_all(const function *function, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int expected = sum + 7 * 31 + i;
		unsigned int got = function[i](7);

		if (got != expected) {
			pr_err("%ps returns %u instead of %u\n", function[i], got, expected);
			return -EIO;
		}
	}
	WRITE_ONCE(sum, sum + 1);
	return 0;
}

static int set_call(const char *value, const struct kernel_param *param)
{
	return call_all(functions, ARRAY_SIZE(functions));
}

static const struct kernel_param_ops call_ops = { .set = set_call };
module_param_cb(call, &call_ops, NULL, 0200);
MODULE_PARM_DESC(call, "Write anything to call each rox_traced_N()");

/* What lab/modules/tracing/rox_klp.c replaces. */
noinline const char *rox_traced_answer(void);
noinline const char *rox_traced_answer(void)
{
	const char *answer = "original";

	/* Or the compiler knows what a caller gets. */
	OPTIMIZER_HIDE_VAR(answer);
	return answer;
}

static int get_answer(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", rox_traced_answer());
}

static const struct kernel_param_ops answer_ops = { .get = get_answer };
module_param_cb(answer, &answer_ops, NULL, 0400);
MODULE_PARM_DESC(answer, "What rox_traced_answer() returns");

static int __init rox_traced_init(void)
{
	return call_all(init_functions, ARRAY_SIZE(init_functions)) ?:
	       call_all(functions, ARRAY_SIZE(functions));
}

static void __exit rox_traced_exit(void)
{
}

module_init(rox_traced_init);
module_exit(rox_traced_exit);
MODULE_DESCRIPTION("Functions to be traced, probed and patched");
MODULE_LICENSE("GPL");
