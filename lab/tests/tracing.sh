# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Tests of what patches text of modules: the function tracer, kprobes and live patches.

# traced NAME KERNEL OPTION... SCRIPT...: a guest with what watches text of modules, and is traced there.
traced() {
	traced_name=$1 traced_kernel=$2
	shift 2
	guest "$traced_name" "$traced_kernel" bbml3 --timeout 900 \
		--add "$OUT/$traced_kernel/lab-modules/tracing" "$@"
}
test_tracer_churn() {
	traced tracer-churn kernel-4k "$SCRIPTS/tracer-churn.sh" 20
}
test_tracer_churn_debug() {
	traced tracer-churn-debug kernel-debug "$SCRIPTS/tracer-churn.sh" 20
}

# tracer_from_init NAME KERNEL: by set_ftrace_filter, and by the command line.
tracer_from_init() {
	traced "$1" "$2" "$SCRIPTS/tracer-from-init.sh" &&
		traced "$1-boot" "$2" --append 'ftrace=function ftrace_filter=vfs_statx,:mod:rox_traced' \
			"$SCRIPTS/tracer-from-init.sh" boot
}
test_tracer_from_init() {
	tracer_from_init tracer-from-init kernel-4k
}
test_tracer_init_debug() {
	tracer_from_init tracer-init-debug kernel-debug
}

test_kprobe_init() {
	traced kprobe-init kernel-4k "$SCRIPTS/kprobe-init.sh" 5
}
test_kprobe_init_debug() {
	traced kprobe-init-debug kernel-debug "$SCRIPTS/kprobe-init.sh" 5
}

# planted_predicate NAME KERNEL: the Oops is that of the lie alone.
planted_predicate() {
	traced "$1" "$2" "$SCRIPTS/planted-predicate.sh" truth &&
		traced "$1-lie" "$2" --expect-splat 'write to read-only memory' \
			"$SCRIPTS/planted-predicate.sh" lie
}
test_planted_predicate() {
	planted_predicate planted-predicate kernel-4k
}
test_predicate_debug() {
	planted_predicate predicate-debug kernel-debug
}

test_livepatch_debug() {
	traced livepatch-debug kernel-debug "$SCRIPTS/livepatch-later.sh" 3
}
test_config_livepatch_later() {
	traced config-livepatch-later kernel-features "$SCRIPTS/livepatch-later.sh" 10
}
test_config_livepatch() {
	guest config-livepatch kernel-features bbml3 "$SCRIPTS/livepatch.sh" 20 &&
		restored config-livepatch boot idle
}

test_config_cfi() {
	traced config-cfi kernel-cfi "$SCRIPTS/tracer-churn.sh" 20 &&
		tracer_from_init config-cfi-init kernel-cfi &&
		traced config-cfi-kprobe kernel-cfi "$SCRIPTS/kprobe-init.sh" 5
}
