#!/bin/sh
# Never end: lab/guest must stop this run when its time is over.
while :; do sleep 1; done
