// SPDX-License-Identifier: GPL-2.0
/*
 * Call any address, to see what happens at one whose module is gone. In debugfs, under
 * rox_freed_text/:
 *
 *   jump    write an address: call it as int f(void). -EFAULT if the call never returned
 *   peek    write an address: read the instruction there. -EFAULT if nothing is mapped
 *   result  what the last of these found
 */

#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>

struct jump {
	int (*function)(void);
	struct completion started;
	bool returned;
};

static struct dentry *dir;
static u32 result;

static int jump_thread(void *data)
{
	struct jump *jump = data;

	complete(&jump->started);
	result = jump->function();
	jump->returned = true;
	return 0;
}

/*
 * The call is made by a thread of its own, which holds no lock and no file: an Oops ends
 * the thread alone, and this module can be used, and unloaded, afterwards.
 */
static int jump_set(void *unused, u64 address)
{
	struct jump jump = { .function = (void *)(unsigned long)address };
	struct task_struct *task;

	init_completion(&jump.started);
	task = kthread_create(jump_thread, &jump, "rox_jump");
	if (IS_ERR(task))
		return PTR_ERR(task);
	get_task_struct(task);
	wake_up_process(task);
	/* kthread_stop() on a thread that has not started would keep it from starting. */
	wait_for_completion(&jump.started);
	kthread_stop(task);
	put_task_struct(task);
	return jump.returned ? 0 : -EFAULT;
}
DEFINE_DEBUGFS_ATTRIBUTE(jump_fops, NULL, jump_set, "%llu\n");

static int peek_set(void *unused, u64 address)
{
	return copy_from_kernel_nofault(&result, (void *)(unsigned long)address,
					sizeof(result));
}
DEFINE_DEBUGFS_ATTRIBUTE(peek_fops, NULL, peek_set, "%llu\n");

static int __init rox_freed_text_init(void)
{
	dir = debugfs_create_dir("rox_freed_text", NULL);
	debugfs_create_file("jump", 0200, dir, NULL, &jump_fops);
	debugfs_create_file("peek", 0200, dir, NULL, &peek_fops);
	debugfs_create_x32("result", 0400, dir, &result);
	return 0;
}

static void __exit rox_freed_text_exit(void)
{
	debugfs_remove(dir);
}

module_init(rox_freed_text_init);
module_exit(rox_freed_text_exit);
MODULE_DESCRIPTION("Call the text of a module that is gone");
MODULE_LICENSE("GPL");
