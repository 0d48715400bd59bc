/* SPDX-License-Identifier: GPL-2.0 */
/* The caches of mm/execmem.c. */

#ifndef ROX_CACHES_H
#define ROX_CACHES_H

#include <linux/maple_tree.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>

#include "kernel_tables.h"

/* As in mm/execmem.c. */
struct execmem_cache {
	struct mutex fill_mutex;
	struct mutex mutex;	/* for all below */
	struct rb_root chunks;
	void *spare;
	unsigned long spare_since;
	struct maple_tree busy_areas;
	struct maple_tree free_areas;
	unsigned int pending_free_cnt;
};

enum { TEXT_CACHE, DATA_CACHE, CACHES };

static const char *const cache_names[CACHES] = { "execmem_rox_cache", "execmem_ro_cache" };
/* %NULL in a kernel without the series. */
static struct execmem_cache *caches[CACHES];

static inline void find_caches(void)
{
	for (int i = 0; i < CACHES; i++)
		caches[i] = (void *)lookup_name(cache_names[i]);
}

#endif /* ROX_CACHES_H */
