// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the execmem caches: the command line, and debugfs.
 */
#include <linux/execmem.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/seq_file.h>

#include "shim.h"

bool execmem_rox __ro_after_init = true;

static int __init parse_execmem_rox(char *arg)
{
	return kstrtobool(arg, &execmem_rox);
}
early_param("execmem_rox", parse_execmem_rox);

void execmem_arch_show(struct seq_file *m)
{
	seq_printf(m, "deposited tables:\t%lu\n", kpgtable_deposited_tables());
}
