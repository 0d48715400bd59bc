#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Never end: lab/guest must stop this run when its time is over.
echo '# hanging'
while :; do sleep 1; done
