// SPDX-License-Identifier: GPL-2.0
//! The command on runs that are made here: good ones, and ones that are cut, contradict
//! themselves, or are not runs at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use count::counts::Counts;
use count::record::{About, Deferred, Event, FunctionCost, Record, Section, Stack};
use count::track::Kind;

const ORDER: &str = "load a\nload b\nunload b\nunload a\n";

/// A directory of runs that is new for each test.
struct Runs(PathBuf);

impl Runs {
    fn new(test: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&directory);
        Self(directory)
    }

    /// Writes a run, and gives its directory.
    fn run(&self, label: &str, record: &Record) -> String {
        let directory = self.0.join(label);
        fs::create_dir_all(&directory).expect("a directory");
        let about = About {
            label: label.to_owned(),
            kernel: "7.3.4".to_owned(),
            rodata: "on".to_owned(),
            cpu: "bbml3".to_owned(),
            smp: 1,
        };
        let write = |name: &str, text: String| {
            fs::write(directory.join(name), text).expect("a file");
        };
        write("run.json", serde_json::to_string(&about).expect("JSON"));
        write("counts.json", serde_json::to_string(record).expect("JSON"));
        write("order", ORDER.to_owned());
        directory.display().to_string()
    }

    /// Writes a run of operations, and gives its directory.
    fn operations(&self, label: &str, record: &Record, done: &str) -> String {
        let run = self.run(label, record);
        fs::write(Path::new(&run).join("done"), done).expect("a file");
        run
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// A record of two BPF programs and a kprobe, all of it after two modules.
fn operations() -> Record {
    let mut record = record(3);
    let mut add = |kind, function: &str, tlbi_one, instructions| {
        record.sections.push(Section {
            kind,
            function: function.to_owned(),
            module: None,
            returned: true,
            counts: Counts {
                tlbi_one,
                instructions,
                ipi: 3,
                ..Counts::default()
            },
            own: Counts::default(),
        });
    };
    add(Kind::BpfLoad, "bpf_prog_load", 2, 1000);
    add(Kind::BpfLoad, "bpf_prog_load", 3, 1100);
    add(Kind::KprobeSet, "register_kprobe", 4, 10);
    add(Kind::KprobeSet, "enable_kprobe", 5, 20);
    record.deferred.push(Deferred {
        function: "aarch64_insn_patch_text_cb".to_owned(),
        after: Kind::KprobeSet,
        calls: 1,
        returned: true,
        counts: Counts {
            icache: 1,
            instructions: 5,
            ..Counts::default()
        },
    });
    record
}

const DONE: &str = "load 2\nunload 2\nbpf-load 2\nkprobe-set 1\n";

/// A record in which each call takes that many TLBI.
fn record(tlbi: u64) -> Record {
    let counts = Counts {
        instructions: 2000,
        tlbi_one: tlbi,
        dsb: 5,
        icache: 7,
        ipi: tlbi - 3,
        ..Counts::default()
    };
    let section = |kind, module: &str| Section {
        kind,
        function: "__arm64_sys_finit_module".to_owned(),
        module: Some(module.to_owned()),
        returned: true,
        counts,
        own: Counts {
            instructions: 500,
            ..Counts::default()
        },
    };
    Record {
        sections: vec![
            section(Kind::Load, "a"),
            section(Kind::Load, "b"),
            section(Kind::Unload, "b"),
            section(Kind::Unload, "a"),
        ],
        deferred: vec![Deferred {
            function: "do_free_init".to_owned(),
            after: Kind::Load,
            calls: 2,
            returned: true,
            counts,
        }],
        absent: vec!["execmem_cache_clean".to_owned()],
        stacks: vec![
            stack(Kind::Load, Event::Tlbi, &["flush", "set", "load"], 2 * tlbi),
            stack(Kind::Unload, Event::Tlbi, &["flush", "free", "unload"], 1),
            stack(Kind::Load, Event::Dsb, &["flush", "set", "load"], 3),
            stack(Kind::Load, Event::Icache, &["round", "patch", "load"], 4),
            stack(Kind::Unload, Event::Ipi, &["send", "kick", "unload"], 6),
        ],
        functions: vec![
            function("same", 1000),
            function("set", 1000 * tlbi),
            function("flush", 10 * tlbi),
        ],
        whole: Counts {
            instructions: 1_000_000,
            tlbi_one: 100,
            dsb: 100,
            icache: 50,
            ..Counts::default()
        },
    }
}

fn stack(kind: Kind, event: Event, functions: &[&str], count: u64) -> Stack {
    Stack {
        kind,
        event,
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        count,
    }
}

fn function(name: &str, instructions: u64) -> FunctionCost {
    FunctionCost {
        kind: Kind::Load,
        function: name.to_owned(),
        instructions,
    }
}

fn count(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_count"));
    command.args(arguments).output().expect("count runs")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("an exit status")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Whether a line of a table has these words.
fn has_row(table: &str, words: &str) -> bool {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut lines = table.lines();
    lines.any(|line| line.split_whitespace().eq(words.iter().copied()))
}

/// What is said of a report that cannot be made, of one run.
fn refused(run: &str) -> String {
    let output = count(&["report", run]);
    assert_eq!(status(&output), 2);
    assert_eq!(stdout(&output), "");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("\n  remedy: "), "{text}");
    text
}

#[test]
fn runs_are_shown_side_by_side_and_judged() {
    let runs = Runs::new("judged");
    let (small, large) = (runs.run("small", &record(3)), runs.run("large", &record(4)));
    let (json, modules) = (runs.file("json"), runs.file("modules"));
    let judge = |label, limit| {
        let judge = ["report", "--judge", label, "--limit", limit];
        let files = ["--json", &json, "--modules", &modules];
        count(&[&judge[..], &files, &[&small, &large]].concat())
    };

    let good = judge("small", "large");
    let text = stdout(&good);
    assert_eq!(status(&good), 0, "{text}");
    assert!(text.contains("2 modules\n"), "{text}");
    assert!(has_row(&text, "TLBI 6 8"), "{text}");
    assert!(
        has_row(&text, "do_free_init() 2 000 in 2 2 000 in 2"),
        "{text}"
    );
    assert!(has_row(&text, "TLBI 85 80"), "{text}");
    assert!(has_row(&text, "I-cache rounds 14 14"), "{text}");
    assert!(has_row(&text, "I-cache rounds 15 15"), "{text}");
    assert!(has_row(&text, "IPI 0 2"), "{text}");
    let average = text.split("each module").nth(1).expect("averages");
    assert!(has_row(average, "TLBI 7.5 10.0"), "{text}");
    assert!(has_row(average, "I-cache rounds 17.5 17.5"), "{text}");
    assert!(has_row(average, "IPI 0.0 2.5"), "{text}");
    assert!(has_row(average, "instructions 4 000.0 4 000.0"), "{text}");
    assert!(
        text.contains("ok: TLBI in the system calls: small 12, at most large 16"),
        "{text}"
    );
    assert!(
        text.contains("ok: instructions in the system calls: small 6 000,"),
        "{text}"
    );
    assert!(!text.contains("NOT OK"), "{text}");

    let bad = judge("large", "small");
    let text = stdout(&bad);
    assert_eq!(status(&bad), 1, "{text}");
    assert!(
        text.contains("\nmore: TLBI with what they defer: large 20, more than small 15 (+33.33 %)"),
        "{text}"
    );
    assert_eq!(text.matches("NOT OK").count(), 1, "{text}");

    let modules = fs::read_to_string(modules).expect("the table of modules");
    assert!(modules.contains("delete_module()"), "{modules}");
    assert!(has_row(&modules, "a 1 500 1 500 3 4 5 5"), "{modules}");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).expect("JSON")).expect("JSON");
    assert_eq!(json["runs"][1]["label"], "large");
    assert_eq!(json["runs"][1]["unload"]["tlbi_one"], 8);
    assert_eq!(json["modules"][2]["name"], "b");
    assert_eq!(json["modules"][2]["costs"][0]["own_instructions"], 500);
    assert_eq!(json["judgements"][1]["within"], false);
}

#[test]
fn a_run_is_held_against_figures() {
    let runs = Runs::new("figures");
    let (small, large) = (runs.run("small", &record(3)), runs.run("large", &record(4)));
    let json = runs.file("json");
    let judge = |bounds: &[&str]| {
        let judge = ["report", "--judge", "large", "--json", &json];
        let bounds: Vec<&str> = bounds.iter().flat_map(|one| ["--most", one]).collect();
        count(&[&judge[..], &bounds, &[&small, &large]].concat())
    };
    let good = judge(&["tlbi=20", "dsb=25", "icache-per-module=17.5", "ipi=5"]);
    let text = stdout(&good);
    assert_eq!(status(&good), 0, "{text}");
    assert_eq!(text.matches("\nok: ").count(), 4, "{text}");

    let bad = judge(&["tlbi=19", "dsb=25", "icache-per-module=17"]);
    let text = stdout(&bad);
    assert_eq!(status(&bad), 1, "{text}");
    assert!(
        text.contains("\nNOT OK: TLBI with what they defer: large 20, above the 19 of --most\n"),
        "{text}"
    );
    assert!(
        text.contains("NOT OK: I-cache rounds per module with what they defer: large 17.5, above"),
        "{text}"
    );
    assert_eq!(text.matches("NOT OK").count(), 2, "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("JSON")).expect("JSON");
    assert_eq!(json["bounds"][1]["within"], true);
    assert_eq!(json["bounds"][2]["cost"], 17.5);
    assert_eq!(json["runs"][1]["load"]["icache"], 14);
    assert_eq!(json["runs"][1]["deferred"]["ipi"], 1);

    // A share needs the other run, which is judged against, too.
    assert_eq!(status(&judge(&["instructions-of-limit=1"])), 2);
    let share = |most| {
        let judge = ["report", "--judge", "small", "--limit", "large", "--most"];
        count(&[&judge[..], &[most, &small, &large]].concat())
    };
    assert_eq!(status(&share("instructions-of-limit=1")), 0);
    let bad = share("instructions-of-limit=0.99");
    assert_eq!(status(&bad), 1);
    assert!(stdout(&bad).contains("NOT OK: instructions, of those of large with what they defer"));
    assert_eq!(status(&share("instructions=x")), 2);
    let alone = ["report", "--most", "tlbi=1", &small];
    assert_eq!(status(&count(&alone)), 2);
    assert_eq!(status(&count(&["report", "--judge", "small", &small])), 2);
}

#[test]
fn operations_are_shown_each_time() {
    let runs = Runs::new("operations");
    let mut other = operations();
    other.sections[4].counts.tlbi_one = 0;
    let first = runs.operations("first", &operations(), DONE);
    let second = runs.operations("second", &other, DONE);
    let about = Path::new(&second).join("run.json");
    let text = fs::read_to_string(&about).expect("run.json");
    fs::write(&about, text.replace("\"smp\":1", "\"smp\":4")).expect("a file");
    let json = runs.file("json");
    let output = count(&["operations", "--json", &json, &first, &second]);
    let text = stdout(&output);
    assert_eq!(status(&output), 0, "{text}");
    let block = |title: &str| text.split(title).nth(1).expect(title).to_owned();
    let load = block("load of a module, average of 2");
    // With what is deferred after loads, and without the module's own.
    assert!(has_row(&load, "TLBI 4.5 4.5"), "{text}");
    assert!(has_row(&load, "instructions 2 500.0 -"), "{text}");
    let bpf = block("load of a BPF program, average of 2");
    assert!(has_row(&bpf, "TLBI 2.5 1.5"), "{text}");
    assert!(has_row(&bpf, "IPI 3.0 3.0"), "{text}");
    let kprobe = block("kprobe registered and enabled, average of 1");
    assert!(has_row(&kprobe, "TLBI 9.0 9.0"), "{text}");
    assert!(has_row(&kprobe, "I-cache rounds 1.0 1.0"), "{text}");
    assert!(has_row(&kprobe, "instructions 35.0 -"), "{text}");
    assert!(!text.contains("function tracer"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).expect("JSON")).expect("JSON");
    assert_eq!(json[1]["label"], "second");
    assert_eq!(json[1]["operations"][2]["kind"], "bpf_load");
    assert_eq!(json[1]["operations"][2]["tlbi_one"], 3);

    // The stacks of such runs are shown, but they are none of modules alone.
    let stacks = count(&["stacks", "--event", "ipi", &first, &second]);
    assert_eq!(status(&stacks), 0);
    assert!(refused(&first).contains("other operations than loads"));
    let modules = runs.run("modules", &record(3));
    assert_eq!(status(&count(&["operations", &modules])), 2);
}

#[test]
fn operations_that_the_guest_did_not_do_are_refused() {
    let runs = Runs::new("done");
    let refused = |record: &Record, done: &str| {
        let output = count(&["operations", &runs.operations("wrong", record, done)]);
        assert_eq!((status(&output), stdout(&output)), (2, String::new()));
        String::from_utf8(output.stderr).expect("text")
    };
    let text = refused(&operations(), &DONE.replace("bpf-load 2", "bpf-load 3"));
    assert!(
        text.contains("2 sections of BpfLoad, but the guest did 3"),
        "{text}"
    );
    let text = refused(&operations(), &DONE.replace("kprobe-set 1\n", ""));
    assert!(text.contains("2 sections of KprobeSet"), "{text}");
    let mut open = operations();
    open.sections[5].returned = false;
    let text = refused(&open, DONE);
    assert!(
        text.contains("bpf_prog_load of no module never returned"),
        "{text}"
    );
    assert!(refused(&operations(), "").contains("2 sections of Load, but the guest did 0"));
    assert!(refused(&operations(), "load").contains("done:1: expected"));
    let first = runs.operations("first", &operations(), DONE);
    let second = runs.operations("second", &operations(), &format!("{DONE}tracer-on 0\n"));
    let output = count(&["operations", &first, &second]);
    assert_eq!(status(&output), 2);
}

#[test]
fn stacks_are_compared_and_folded() {
    let runs = Runs::new("stacks");
    let (small, large) = (runs.run("small", &record(3)), runs.run("large", &record(4)));
    let text = stdout(&count(&["stacks", "--depth", "2", &small, &large]));
    assert_eq!(
        text,
        "TLBI BY       small  large\n\
         flush < set       6      8\n\
         flush < free      1      1\n\
         in all            7      9\n"
    );
    let text = stdout(&count(&[
        "stacks", "--kind", "unload", "--depth", "9", &small,
    ]));
    assert!(
        text.contains("flush < free < unload") && !text.contains("set"),
        "{text}"
    );
    let text = stdout(&count(&["stacks", "--folded", "--event", "dsb", &large]));
    assert_eq!(text, "load;set;flush 3\n");
    let text = stdout(&count(&["stacks", "--folded", "--event", "icache", &large]));
    assert_eq!(text, "load;patch;round 4\n");
    let text = stdout(&count(&[
        "stacks", "--event", "ipi", "--depth", "2", &small,
    ]));
    assert!(text.starts_with("IPI BY"), "{text}");
    assert!(has_row(&text, "send < kick 6"), "{text}");
    let text = stdout(&count(&["functions", &small, &large]));
    assert_eq!(
        text,
        "INSTRUCTIONS IN  small  large\n\
         set              3 000  4 000\n\
         flush               30     40\n\
         same             1 000  1 000\n"
    );
    assert_eq!(status(&count(&["stacks", "--depth", "0", &small])), 2);
    assert_eq!(status(&count(&["stacks", "--kind", "all", &small])), 2);
}

#[test]
fn a_cut_record_is_refused() {
    let runs = Runs::new("cut");
    let run = runs.run("cut", &record(3));
    let file = Path::new(&run).join("counts.json");
    let whole = fs::read(&file).expect("the record");
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("a file");
        assert!(refused(&run).contains("counts.json: EOF"), "{length}");
    }
    fs::remove_file(&file).expect("the record");
    assert!(refused(&run).contains("counts.json: cannot be read"));
}

#[test]
fn garbage_is_refused() {
    let runs = Runs::new("garbage");
    let run = runs.run("garbage", &record(3));
    let file = Path::new(&run).join("counts.json");
    for bytes in [
        &b"\x7fELF\xff"[..],
        b"{}",
        b"[1, 2]",
        b"null",
        b"{\"sections\": 3}",
    ] {
        fs::write(&file, bytes).expect("a file");
        assert!(refused(&run).contains("counts.json"));
    }
    assert!(refused("/nonexistent").contains("/nonexistent/run.json: cannot be read"));
}

#[test]
fn a_record_that_is_not_what_the_guest_did_is_refused() {
    let runs = Runs::new("order");
    let open = |change: fn(&mut Record)| {
        let mut record = record(3);
        change(&mut record);
        refused(&runs.run("wrong", &record))
    };
    let text = open(|record| record.sections[1].module = None);
    assert!(
        text.contains("section 2 is Load of no module, but the guest did Load of b"),
        "{text}"
    );
    let text = open(|record| record.sections[3].returned = false);
    assert!(text.contains("of a never returned"), "{text}");
    let text = open(|record| record.deferred[0].returned = false);
    assert!(
        text.contains("do_free_init was not over when the guest ended"),
        "{text}"
    );
    let text = open(|record| record.sections.truncate(3));
    assert!(
        text.contains("3 sections, but the guest loaded and unloaded 4 times"),
        "{text}"
    );
    let text = open(|record| record.sections.push(record.sections[0].clone()));
    assert!(text.contains("5 sections"), "{text}");

    let run = runs.run("wrong", &record(3));
    fs::write(Path::new(&run).join("order"), "load a\nlo").expect("a file");
    assert!(refused(&run).contains("order:2: expected `load MODULE`"));
    fs::write(Path::new(&run).join("order"), "").expect("a file");
    assert!(refused(&run).contains("4 sections, but the guest loaded and unloaded 0 times"));
}

#[test]
fn runs_that_do_not_compare_are_refused() {
    let runs = Runs::new("compare");
    let first = runs.run("first", &record(3));
    let again = count(&["report", &first, &first]);
    assert_eq!(status(&again), 2);
    let unknown = count(&["report", "--judge", "first", "--limit", "none", &first]);
    assert_eq!(status(&unknown), 2);
    let text = String::from_utf8(unknown.stderr).expect("text");
    assert!(text.contains("none: no run has this name"), "{text}");

    let mut other = record(3);
    other.sections[0].module = Some("c".to_owned());
    let second = runs.run("second", &other);
    let order = "load c\nload b\nunload b\nunload a\n";
    fs::write(Path::new(&second).join("order"), order).expect("a file");
    let output = count(&["report", &first, &second]);
    assert_eq!(status(&output), 2, "{}", stdout(&output));
}
