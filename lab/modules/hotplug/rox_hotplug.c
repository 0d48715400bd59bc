// SPDX-License-Identifier: GPL-2.0
/*
 * Adds memory that boot was told not to use, and takes it away again when it is unloaded:
 *
 *	insmod rox_hotplug.ko start=PA size=BYTES
 *
 * What is added is offline; who puts it online does so in ZONE_MOVABLE, so that it can go.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/memory_hotplug.h>
#include <linux/module.h>

static ulong start;
module_param(start, ulong, 0);
MODULE_PARM_DESC(start, "first physical address, a multiple of a memory block's size");
static ulong size;
module_param(size, ulong, 0);
MODULE_PARM_DESC(size, "bytes, a multiple of a memory block's size");

static int __init rox_hotplug_init(void)
{
	int err = add_memory(0, start, size, MHP_NONE);

	if (err)
		pr_err("cannot add %#lx bytes at %#lx: %d\n", size, start, err);
	return err;
}
module_init(rox_hotplug_init);

static void __exit rox_hotplug_exit(void)
{
	int err = offline_and_remove_memory(start, size);

	if (err)
		pr_err("cannot remove %#lx bytes at %#lx: %d\n", size, start, err);
}
module_exit(rox_hotplug_exit);

MODULE_DESCRIPTION("Adds and removes memory");
MODULE_LICENSE("GPL");
