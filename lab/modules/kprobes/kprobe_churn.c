// SPDX-License-Identifier: GPL-2.0
/*
 * Sets and removes kprobes when it is loaded, COUNT in all, and refuses to stay:
 *
 *	insmod kprobe_churn.ko count=COUNT
 *
 * They come and go a batch at a time, so that there is one RCU grace period for each batch;
 * by tracefs there would be several for each probe.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/module.h>

static unsigned int count = 1000;
module_param(count, uint, 0);
MODULE_PARM_DESC(count, "number of kprobes that are set and removed");

static const char * const functions[] = {
	"vfs_read", "vfs_write", "vfs_open", "vfs_statx", "vfs_getattr", "vfs_fstat",
	"ksys_read", "ksys_write", "filp_close", "do_sys_openat2", "wake_up_process",
	"kernel_clone", "do_exit", "schedule_timeout", "vm_mmap_pgoff", "ksys_mmap_pgoff",
};

#define BATCH ARRAY_SIZE(functions)

static struct kprobe probes[BATCH];
static struct kprobe *batch[BATCH];

static int pre_handler(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static int __init kprobe_churn_init(void)
{
	for (unsigned int done = 0; done < count; done += BATCH) {
		int err;

		for (unsigned int i = 0; i < BATCH; i++) {
			probes[i] = (struct kprobe) {
				.symbol_name = functions[i],
				.pre_handler = pre_handler,
			};
			batch[i] = &probes[i];
		}
		err = register_kprobes(batch, BATCH);
		if (err) {
			pr_err("cannot set kprobes: %d, after %u\n", err, done);
			return err;
		}
		unregister_kprobes(batch, BATCH);
		cond_resched();
	}
	pr_info("%u kprobes were set and removed\n", count);
	return -EAGAIN;
}
module_init(kprobe_churn_init);

MODULE_DESCRIPTION("Sets and removes kprobes");
MODULE_LICENSE("GPL");
