//! Random patterns and subjects: `match` and `split` here and in C++ Nix. Needs the program `nix-instantiate` (Debian: nix-bin);
//! without it the test says so and compares nothing.

use nbv_eval::regex::Regex;
use std::process::Command;

/// A small generator of numbers (xorshift), so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn pattern(&mut self, depth: u64, out: &mut String) {
        for _ in 0..=self.below(3) {
            match self.below(if depth == 0 { 6 } else { 9 }) {
                0 | 1 => out.push('a'),
                2 => out.push('b'),
                3 => out.push('.'),
                4 => out.push_str(["[ab]", "[^a]", "[[:alpha:]]", "[b-c]"][self.below(4) as usize]),
                5 => out.push(['^', '$', 'c', 'b'][self.below(4) as usize]),
                _ => {
                    out.push('(');
                    self.pattern(depth - 1, out);
                    if self.below(2) == 0 {
                        out.push('|');
                        if self.below(4) > 0 {
                            self.pattern(depth - 1, out);
                        }
                    }
                    out.push(')');
                }
            }
            if self.below(3) == 0 && !out.ends_with(['^', '$']) {
                out.push_str(["*", "+", "?", "{0,2}", "{1,}", "{2}"][self.below(6) as usize]);
            }
        }
    }
}

fn json(groups: &[Option<std::ops::Range<usize>>], subject: &str) -> String {
    let items: Vec<String> =
        groups[1..].iter().map(|g| g.clone().map_or("null".to_owned(), |r| format!("\"{}\"", &subject[r]))).collect();
    format!("[{}]", items.join(","))
}

fn ours(pattern: &str, subject: &str) -> String {
    let regex = Regex::new(pattern.as_bytes()).unwrap();
    let whole = regex.match_whole(subject.as_bytes()).map_or("null".to_owned(), |g| json(&g, subject));
    let mut parts = Vec::new();
    let mut from = 0;
    for found in regex.matches(subject.as_bytes()) {
        let whole = found[0].clone().unwrap();
        parts.push(format!("\"{}\"", &subject[from..whole.start]));
        parts.push(json(&found, subject));
        from = whole.end;
    }
    parts.push(format!("\"{}\"", &subject[from..]));
    format!("[{whole},[{}]]", parts.join(","))
}

#[test]
fn results_are_those_of_cpp_nix() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut cases = Vec::new();
    while cases.len() < 1500 {
        let mut pattern = String::new();
        random.pattern(2, &mut pattern);
        if Regex::new(pattern.as_bytes()).is_err() {
            continue;
        }
        let subject: String = (0..random.below(8)).map(|_| ['a', 'b', 'c'][random.below(3) as usize]).collect();
        cases.push((pattern, subject));
    }
    let list: Vec<String> = cases
        .iter()
        .map(|(p, s)| format!("[ (builtins.match {p:?} {s:?}) (builtins.split {p:?} {s:?}) ]"))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cases.nix");
    std::fs::write(&file, format!("[ {} ]", list.join("\n"))).unwrap();
    let run = Command::new("timeout").arg("60").args(["nix-instantiate", "--eval", "--strict", "--json"]).arg(&file).env("NIX_REMOTE", "dummy://").output();
    let Some(run) = run.ok().filter(|r| r.status.code() != Some(127)) else {
        eprintln!("nix-instantiate is not installed: nothing compared");
        return;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let theirs: Vec<serde_json::Value> = serde_json::from_slice(&run.stdout).unwrap();
    let mut wrong = 0;
    for ((pattern, subject), theirs) in cases.iter().zip(&theirs) {
        let ours = ours(pattern, subject);
        if ours != theirs.to_string() {
            wrong += 1;
            eprintln!("{pattern:?} {subject:?}: here {ours}, there {theirs}");
        }
    }
    assert_eq!(wrong, 0, "of {}", cases.len());
}
