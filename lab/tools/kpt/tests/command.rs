// SPDX-License-Identifier: GPL-2.0
//! The commands on the fixtures in `data/`: what they print and how they exit. Those in
//! `data/guest/` are of a stock 7.3.4 in a guest of 1 GiB, just booted with `rodata=on`. Those
//! in `data/stock/` and `data/ours/` are written by hand in the kernel's format, with the shape
//! that loading modules gives to such a guest without the series and with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn data(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "data", name]
        .iter()
        .collect();
    path.display().to_string()
}

fn kpt(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpt"));
    command.args(arguments).output().expect("kpt runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("an exit status")
}

fn region(summary: &Value, name: &str) -> Value {
    let regions = summary["regions"].as_array().expect("regions").iter();
    let mut named = regions.filter(|region| region["name"] == name);
    named.next().expect("the region").clone()
}

#[test]
fn show_counts_the_linear_map() {
    let shown = kpt(&["show", "--json", &data("stock/loaded.dump")]);
    assert_eq!(status(&shown), 0);
    let linear = region(&json(&shown), "linear");
    assert_eq!(linear["mapped_bytes"], 1u64 << 30);
    assert_eq!(linear["l3_tables"], 12);
    assert_eq!(linear["granularity"]["cont_pmd"]["entries"], 28);
    assert_eq!(linear["granularity"]["cont_pte"]["entries"], 31);
    assert_eq!(linear["granularity"]["pmd"]["entries"], 52);
    assert_eq!(linear["granularity"]["pte"]["entries"], 5648);
    assert_eq!(linear["permission_bytes"]["wx"], 0);
    assert_eq!(linear["permission_bytes"]["invalid"], 4096);
    let text = stdout(&kpt(&["show", &data("stock/loaded.dump")]));
    assert!(text.contains("896 MiB in 28"), "{text}");
}

/// The counters of a region as JSON: entries of the five granularities, L3 tables.
fn entries(region: &Value) -> [u64; 6] {
    let leaves = ["pte", "cont_pte", "pmd", "cont_pmd", "pud"];
    let entries = leaves.map(|leaf| &region["granularity"][leaf]["entries"]);
    let [pte, cont_pte, pmd, cont_pmd, pud] = entries;
    [pte, cont_pte, pmd, cont_pmd, pud, &region["l3_tables"]]
        .map(|number| number.as_u64().expect("a number"))
}

#[test]
fn show_counts_a_booted_guest() {
    let bbml3 = json(&kpt(&[
        "show",
        "--json",
        &data("guest/stock-bbml3-boot.dump"),
    ]));
    assert_eq!(bbml3["page_size"], "4k");
    let linear = region(&bbml3, "linear");
    assert_eq!(entries(&linear), [1040, 63, 28, 30, 0, 4]);
    assert_eq!(linear["mapped_bytes"], 1u64 << 30);
    assert_eq!(linear["permission_bytes"]["rw"], 1_057_378_304);
    assert_eq!(linear["permission_bytes"]["ro"], 13_762_560);
    assert_eq!(linear["permission_bytes"]["invalid"], 2_600_960);
    let vmalloc = region(&bbml3, "vmalloc");
    assert_eq!(entries(&vmalloc), [1116, 333, 131, 0, 0, 15]);
    assert_eq!(vmalloc["permission_bytes"]["rox"], 10_223_616);
    assert_eq!(entries(&region(&bbml3, "modules")), [0; 6]);
    assert_eq!(entries(&region(&bbml3, "fixmap")), [256, 0, 0, 0, 0, 2]);

    let plain = json(&kpt(&[
        "show",
        "--json",
        &data("guest/stock-plain-boot.dump"),
    ]));
    let linear = region(&plain, "linear");
    assert_eq!(entries(&linear), [262_144, 0, 0, 0, 0, 512]);
    assert_eq!(
        entries(&region(&plain, "vmalloc")),
        [1120, 333, 131, 0, 0, 15]
    );
}

#[test]
fn a_booted_guest_passes_the_other_commands() {
    let bbml3 = data("guest/stock-bbml3-boot.dump");
    let plain = data("guest/stock-plain-boot.dump");
    assert_eq!(status(&kpt(&["check-wx", &bbml3, &plain])), 0);
    assert_eq!(status(&kpt(&["diff", &bbml3, &plain])), 1);
    for region in ["linear", "vmalloc", "vmemmap", "fixmap"] {
        let drawn = kpt(&["map", &bbml3, "--region", region, "-o", "-"]);
        assert_eq!(status(&drawn), 0);
    }
    let areas = data("guest/stock-bbml3-vmallocinfo");
    let sections = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sections");
    std::fs::write(&sections, "m .text 0xffff800080000000 64\n").expect("written");
    let sections = sections.display().to_string();
    let located = kpt(&[
        "text",
        "--sections",
        &sections,
        "--vmallocinfo",
        &areas,
        &bbml3,
        "--json",
    ]);
    assert_eq!(status(&located), 1);
    let section = json(&located)["modules"][0]["sections"][0].clone();
    assert_eq!(section["granularity"], "pte");
    assert_eq!(section["outside"]["size"], 16384);
}

#[test]
fn show_reads_standard_input() {
    let file = std::fs::File::open(data("ours/loaded.dump")).expect("the fixture");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpt"));
    let shown = command.args(["show", "-"]).stdin(file).output();
    let shown = shown.expect("kpt runs");
    assert_eq!(status(&shown), 0);
    assert!(stdout(&shown).starts_with("standard input: 4k pages"));
}

#[test]
fn diff_exits_like_diff() {
    let (boot, loaded) = (data("stock/boot.dump"), data("stock/loaded.dump"));
    assert_eq!(status(&kpt(&["diff", &boot, &boot])), 0);
    assert_eq!(status(&kpt(&["diff", &boot, &data("absent")])), 2);
    assert_eq!(status(&kpt(&["diff", "-", "-"])), 2);

    let text = kpt(&["diff", "--limit", "4", &boot, &loaded]);
    assert_eq!(status(&text), 1);
    let text = stdout(&text);
    assert!(text.contains("contPMD RW  PTE RO"), "{text}");
    assert!(text.contains("and 21 more ranges with 57.75 MiB"), "{text}");

    let full = json(&kpt(&["diff", "--json", &boot, &loaded]));
    assert_eq!(full["equal"], false);
    let linear = region(&full, "linear");
    assert_eq!(linear["changes"].as_array().map(Vec::len), Some(25));
    let counters = linear["counters"].as_array().expect("counters").iter();
    let mut tables = counters.filter(|counter| counter["name"] == "l3_tables");
    let tables = tables.next().expect("the counter");
    assert_eq!(tables["before"], 2);
    assert_eq!(tables["after"], 12);
    assert_eq!(tables["delta"], 10);
}

#[test]
fn restored_demands_sizes_or_tables() {
    let compare = |before: &str, after: &str, more: &[&str]| {
        let [before, after] = [before, after].map(|name| data(&format!("{name}.dump")));
        status(&kpt(&[&["restored", &before, &after], more].concat()))
    };
    let tables = ["--l3-tables"];

    assert_eq!(compare("ours/boot", "ours/unloaded", &[]), 0);
    assert_eq!(compare("stock/boot", "stock/loaded", &[]), 1);
    assert_eq!(compare("stock/boot", "stock/loaded", &tables), 1);
    // Fewer will do.
    assert_eq!(compare("stock/loaded", "stock/boot", &[]), 1);
    assert_eq!(compare("stock/loaded", "stock/boot", &tables), 0);
}

#[test]
fn map_draws_what_is_mapped() {
    let loaded = data("ours/loaded.dump");
    let drawn = kpt(&["map", &loaded, "--region", "modules", "-o", "-"]);
    assert_eq!(status(&drawn), 0);
    let picture = stdout(&drawn);
    assert!(picture.starts_with("<svg"), "{picture}");
    assert!(picture.contains("4 MiB in 2 entries"), "{picture}");

    let absent = kpt(&["map", &loaded, "--region", "nowhere", "-o", "-"]);
    assert_eq!(status(&absent), 2);
    let message = String::from_utf8(absent.stderr).expect("text");
    assert!(
        message.contains("linear, after-linear, modules"),
        "{message}"
    );
    let boot = data("ours/boot.dump");
    assert_eq!(
        status(&kpt(&["map", &boot, "--region", "modules", "-o", "-"])),
        2
    );
}

#[test]
fn report_prints_the_headline_table() {
    let (stock, ours) = (data("stock"), data("ours"));
    let report = kpt(&["report", &ours, &stock]);
    assert_eq!(status(&report), 0);
    let text = stdout(&report);
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("rodata"))
        .collect();
    assert_eq!(
        rows,
        [
            "| stock 7.3.4, rodata=on | bbml3 | 2 | 12 | 12 | 64 MiB | 0 % | this run |",
            "| **7.3.4 with the series, rodata=on** | bbml3 | 2 | 2 | 2 | 0 MiB | 100 % | this run |",
        ]
    );
}

#[test]
fn report_without_sections_takes_the_modules_region() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-sections");
    std::fs::create_dir_all(&directory).expect("a directory");
    for name in ["run.json", "boot.dump", "loaded.dump", "unloaded.dump"] {
        let from = data(&format!("ours/{name}"));
        std::fs::copy(from, directory.join(name)).expect("copied");
    }
    let rows = json(&kpt(&[
        "report",
        "--json",
        &directory.display().to_string(),
    ]));
    assert_eq!(rows[0]["module_rox_bytes"], 4u64 << 20);
    assert_eq!(rows[0]["module_rox_pmd_bytes"], 4u64 << 20);
}

#[test]
fn report_takes_its_own_json_as_recorded_rows() {
    let (stock, ours) = (data("stock"), data("ours"));
    let recorded = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recorded.json");
    std::fs::write(&recorded, kpt(&["report", "--json", &stock, &ours]).stdout).expect("written");
    let recorded = recorded.display().to_string();

    let text = stdout(&kpt(&["report", "--recorded", &recorded, &ours]));
    let origins: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("rodata"))
        .filter_map(|line| line.rsplit(" | ").next())
        .collect();
    assert_eq!(
        origins,
        [
            "recorded 2026-11-21 on stock 7.3.4: `make stock && make run` |",
            "this run |"
        ]
    );
    let rows = json(&kpt(&["report", "--json", "--recorded", &recorded]));
    assert_eq!(rows[0]["recorded"], true);
    assert_eq!(rows[0]["cont_pmd_bytes_lost"], 64u64 << 20);
    assert_eq!(status(&kpt(&["report"])), 2);
    assert_eq!(status(&kpt(&["report", &data("absent")])), 2);
}

fn text(run: &str, more: &[&str]) -> Output {
    text_in(&data(&format!("{run}/vmallocinfo")), run, more)
}

fn text_in(areas: &str, run: &str, more: &[&str]) -> Output {
    let file = |name| data(&format!("{run}/{name}"));
    let (sections, dump) = (file("sections"), file("loaded.dump"));
    let mut arguments = vec![
        "text",
        "--sections",
        &sections,
        "--vmallocinfo",
        areas,
        &dump,
    ];
    arguments.extend(more);
    kpt(&arguments)
}

#[test]
fn text_finds_the_cache() {
    let located = text("ours", &[]);
    assert_eq!(status(&located), 0, "{located:?}");
    let located = json(&text("ours", &["--json"]));
    assert_eq!(located["totals"]["modules"], 2);
    assert_eq!(located["totals"]["modules_in_cache"], 2);
    assert_eq!(located["totals"]["text_bytes_in_cache"], 126_976);
    assert_eq!(located["modules"][0]["sections"][0]["granularity"], "pmd");
    assert_eq!(located["modules"][0]["sections"][1]["outside"], "no_area");
}

#[test]
fn blocks_have_a_guard_page_or_none() {
    let areas = std::fs::read_to_string(data("ours/vmallocinfo")).expect("the fixture");
    let areas = areas.replace("a401000 4198400", "a400000 4194304");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-guard");
    std::fs::write(&path, areas).expect("written");
    let located = text_in(&path.display().to_string(), "ours", &[]);
    assert_eq!(status(&located), 0, "{located:?}");
}

#[test]
fn text_names_modules_outside_the_cache() {
    let located = text("stock", &[]);
    assert_eq!(status(&located), 1);
    let located = stdout(&located);
    assert!(
        located.contains("not in the cache: bridge, crc7\n"),
        "{located}"
    );
    assert!(
        located.contains("area size 64 KiB is not whole 2 MiB"),
        "{located}"
    );
    assert!(located.contains("0 of 2 modules"), "{located}");
}

#[test]
fn check_wx_names_the_range() {
    let (boot, loaded) = (data("ours/boot.dump"), data("ours/loaded.dump"));
    let clean = kpt(&["check-wx", &boot, &loaded]);
    assert_eq!(status(&clean), 0);
    assert_eq!(stdout(&clean), "");

    let text = std::fs::read_to_string(&loaded).expect("the fixture");
    let open = text.replace("ro x ", "RW x ");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("open.dump");
    std::fs::write(&path, open).expect("written");
    let open = kpt(&["check-wx", &boot, &path.display().to_string()]);
    assert_eq!(status(&open), 1);
    let named = stdout(&open);
    let expected = "W+X in modules: 0xffff80007a000000-0xffff80007a400000 (4 MiB, PMD)\n";
    assert!(named.contains(expected), "{named}");
}

/// A sample: the dump, and these aliases.
fn sample(name: &str, dump: &str, aliases: &str) -> String {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("created");
    std::fs::copy(data(dump), dir.join("dump")).expect("copied");
    std::fs::write(dir.join("aliases"), aliases).expect("written");
    dir.display().to_string()
}

#[test]
fn aliases_wants_cached_memory_read_only_and_in_blocks() {
    let (blocks, pages) = (
        "0xffff000000200000-0xffff000000c00000 0xffff80007a000000 ro\n",
        "0xffff000000200000-0xffff000000201000 0xffff80007a000000 ro\n\
         0xffff00003fe00000-0xffff00003fe01000 0xffff80007a001000 ro\n",
    );
    let well = sample("sample-1", "ours/loaded.dump", blocks);
    let checked = kpt(&["aliases", "--blocks", &well, &well]);
    assert_eq!(status(&checked), 0, "{checked:?}");
    let end = "2 samples, at most 0 L3 tables of cached memory in any\n";
    assert!(stdout(&checked).ends_with(end), "{checked:?}");

    let open = sample("sample-2", "ours/loaded.dump", pages);
    let checked = kpt(&["aliases", &well, &open]);
    assert_eq!(status(&checked), 1);
    let named = "0xffff00003fe00000-0xffff00003fe01000 (4 KiB) is RW\n";
    assert!(stdout(&checked).contains(named), "{checked:?}");

    let split = "0xffff000020440000-0xffff000020441000 0xffff80007a000000 ro\n";
    let split = sample("sample-3", "stock/loaded.dump", split);
    assert_eq!(status(&kpt(&["aliases", &data("absent")])), 2);
    assert_eq!(status(&kpt(&["aliases", &split])), 0);
    assert_eq!(status(&kpt(&["aliases", "--blocks", &split])), 1);
}
