// SPDX-License-Identifier: GPL-2.0
/*
 * Adds memory that boot was told not to use, and takes it away again when it is unloaded:
 *
 *	insmod rox_hotplug.ko start=PA size=BYTES
 *
 * What is added is offline; who puts it online does so in ZONE_MOVABLE, so that it can go. When it is
 * online, writing Y to the parameter "pin" takes a page of it that does not move, so that the memory
 * block with it does not become offline, until N is written.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>

static ulong start;
module_param(start, ulong, 0);
MODULE_PARM_DESC(start, "first physical address, a multiple of a memory block's size");
static ulong size;
module_param(size, ulong, 0);
MODULE_PARM_DESC(size, "bytes, a multiple of a memory block's size");

/* What keeps a memory block from becoming offline, or %NULL. */
static struct page *pinned;

static int pin_page(void)
{
	LIST_HEAD(others);
	struct page *page, *next;

	/* Movable memory is taken from ZONE_MOVABLE first, which is what was added. */
	for (int tries = 0; tries < 1000; tries++) {
		page = alloc_page(GFP_HIGHUSER_MOVABLE);
		if (!page)
			break;
		if (page_to_phys(page) - start < size) {
			pinned = page;
			break;
		}
		list_add(&page->lru, &others);
	}
	list_for_each_entry_safe(page, next, &others, lru)
		__free_page(page);
	return pinned ? 0 : -ENOMEM;
}

static int set_pin(const char *value, const struct kernel_param *param)
{
	bool pin;
	int err = kstrtobool(value, &pin);

	if (err || pin == !!pinned)
		return err;
	if (pin)
		return pin_page();
	__free_page(pinned);
	pinned = NULL;
	return 0;
}

static int get_pin(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%c\n", pinned ? 'Y' : 'N');
}

static const struct kernel_param_ops pin_ops = { .set = set_pin, .get = get_pin };
module_param_cb(pin, &pin_ops, NULL, 0600);
MODULE_PARM_DESC(pin, "whether a page of what was added, and is online, is taken");

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
	int err;

	if (pinned)
		__free_page(pinned);
	err = offline_and_remove_memory(start, size);

	if (err)
		pr_err("cannot remove %#lx bytes at %#lx: %d\n", size, start, err);
}
module_exit(rox_hotplug_exit);

MODULE_DESCRIPTION("Adds and removes memory");
MODULE_LICENSE("GPL");
