// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the execmem caches: the command line, and debugfs.
 */
#include <linux/execmem.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include <asm/kpgtable.h>

#include "shim.h"

bool execmem_rox __ro_after_init = true;
bool execmem_rox_all __ro_after_init;

static int __init parse_execmem_rox(char *arg)
{
	execmem_rox_all = arg && !strcmp(arg, "all");
	if (execmem_rox_all) {
		execmem_rox = true;
		return 0;
	}

	return kstrtobool(arg, &execmem_rox);
}
early_param("execmem_rox", parse_execmem_rox);

void execmem_arch_show(struct seq_file *m)
{
	unsigned long sum = 0, area = 0, bytes, caller;

	seq_printf(m, "deposited tables:\t%lu\n", kpgtable_deposited_tables());
	if (!kpgtable_whole_leaves())
		return;

	while ((bytes = kpgtable_unprotected(&area, &caller))) {
		seq_printf(m, "unprotected by %pS:\t%lu kB\n", (void *)caller,
			   bytes / SZ_1K);
		sum += bytes;
	}
	seq_printf(m, "unprotected:\t%lu kB\n", sum / SZ_1K);
}
