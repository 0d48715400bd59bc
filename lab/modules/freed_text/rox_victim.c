// SPDX-License-Identifier: GPL-2.0
/*
 * A module with one function, to be called, unloaded, and called again by
 * rox_freed_text.
 */

#include <linux/export.h>
#include <linux/module.h>

int rox_victim_answer(void);

int rox_victim_answer(void)
{
	return 0x726f7821;
}
/* Exported, so that the function has a landing pad for an indirect call. */
EXPORT_SYMBOL_GPL(rox_victim_answer);

MODULE_DESCRIPTION("A function in text that will be freed");
MODULE_LICENSE("GPL");
