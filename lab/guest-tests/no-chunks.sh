#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# With nohugevmalloc there are no large leaves, and so no chunks: the caches take as many pages as
# a module needs, and do not try to get a chunk first.
#
# usage: no-chunks.sh     needs lab-programs and lab-modules/placement, by --add
. /lab/guest-lib.sh
plan 1
event=/sys/kernel/tracing/events/vmalloc/alloc_vmap_area

grep -q nohugevmalloc /proc/cmdline || fail 'nohugevmalloc is not on the command line'
boot_caches
echo 'size >= 2097152' >$event/filter && echo 1 >$event/enable || fail 'cannot trace alloc_vmap_area'
clones load 0 1x2150
first=$(grep -c alloc_vmap_area: /sys/kernel/tracing/trace)
[ "$first" -gt 0 ] || fail 'the event does not see a module of 2.1 MiB'
clones load 1 20x20
settle
more=$(($(grep -c alloc_vmap_area: /sys/kernel/tracing/trace) - first))
echo "# $(tr '\n\t' '  ' </sys/kernel/debug/execmem_cache)"
[ $more = 0 ] || fail "$more times 2 MiB or more were allocated for 20 modules of 20 KiB"
[ $(($(cache 'ROX free') + $(cache 'RO free'))) -lt 1024 ] || fail 'much is free in areas of single pages'
no_wx loaded
clones unload 0 1
drained 'all are unloaded'
ktap_test_pass '20 small modules without chunks'
ktap_finished
