//! The result folder: scripts, the plan, the pins.

use crate::derive::{Made, Maker};
use crate::error::Error;
use crate::instantiate::Test;
use crate::runner::PROGRAM;
use nbv_plan::NetworkPlan;
use serde_json::{Map, Value, json};

/// Adds the derivation of a result. `runner` is the store path of the program's copy; `inputs` are the derivations of what
/// the plan names; `lock` is the text of lock.json.
pub(crate) fn make(
    maker: &mut Maker<'_>,
    plan: &NetworkPlan,
    test: Option<&Test>,
    lock: &str,
    runner: &str,
    inputs: &[&str],
    system: &str,
) -> Result<Made, Error> {
    let runner_name = runner.rsplit('/').next().unwrap_or(runner);
    let script = |name: &str, text: String| json!({ "name": format!("bin/{name}"), "text": text, "executable": true });
    let names: Vec<&str> = plan.machines.iter().map(|machine| machine.name.as_str()).collect();
    let mut entries = vec![
        script("run-vms", run_script(runner_name, &format!("Starts the machines of this network: {}.", names.join(", ")), "internal-run", "")),
        json!({ "name": "bin/nixos-run-vms", "path": "run-vms" }),
        script("nixos-test-driver", run_script(runner_name, "Starts the test driver of this network.", "internal-driver", "")),
        json!({ "name": "network.json", "text": plan.to_json() }),
        json!({ "name": "lock.json", "text": lock }),
    ];
    if let Some(test) = test {
        entries.push(json!({ "name": "test.json", "text": serde_json::to_string_pretty(test).unwrap_or_default() + "\n" }));
    }
    for name in names {
        let about = format!("Starts the machine {name} of this network.");
        entries.push(script(&format!("run-{name}-vm"), run_script(runner_name, &about, "internal-run", &format!(" --only {name}"))));
    }
    maker.make("network", "link-farm", system, Map::from_iter([("entries".to_owned(), Value::from(entries))]), inputs, &[runner])
}

/// A script that starts the runner, which stands beside the result in the same store.
fn run_script(runner_name: &str, about: &str, command: &str, more: &str) -> String {
    format!(
        "\
#!/bin/sh
# {about} --help lists the options.
set -eu
result=$(dirname -- \"$(dirname -- \"$(readlink -f -- \"$0\")\")\")
store=$(dirname -- \"$result\")
exec \"$store/{runner_name}/{PROGRAM}\" {command} --result \"$result\"{more} \"$@\"
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_script_finds_the_runner_through_links_and_passes_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("store/r-runner/bin")).unwrap();
        std::fs::create_dir_all(at("store/n-network/bin")).unwrap();
        let write = |path: std::path::PathBuf, text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write(at("store/r-runner").join(PROGRAM), "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
        write(at("store/n-network/bin/run-vms"), &run_script("r-runner", "x", "internal-run", " --only a"));
        std::os::unix::fs::symlink(at("store/n-network"), at("a result")).unwrap();
        let out = std::process::Command::new(at("a result/bin/run-vms")).args(["--quiet", "a b"]).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        let wanted = format!("internal-run\n--result\n{}\n--only\na\n--quiet\na b\n", at("store/n-network").canonicalize().unwrap().display());
        assert_eq!(said, wanted);
    }
}
