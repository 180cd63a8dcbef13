//! `pgark report`: the file that it writes, and the page in a browser, in light and dark, on a desk and on a phone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use pgark::store::LocalStore;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::archives::HandMade;
use crate::support::{block_on, pgark};

/// Table names that would run a script if they were markup.
const HOSTILE: [&str; 3] = [
    "</td><script>window.parent.broken = 1</script>",
    "<img src=x onerror='window.parent.broken = 2'>",
    "\"><style>body { display: none }</style>",
];

/// A repository with one archive of hostile names.
fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repo");
    block_on(async {
        let store = LocalStore::create(&path).await.unwrap();
        let mut archive = HandMade::new(Arc::new(store)).await;
        for name in HOSTILE {
            let id = archive.named("table data", name, "data", &json!({}));
            archive.rows(id, &["a"], &["1\n2\n".to_owned()]).await;
        }
        archive.finish("made").await;
    });
    folder
}

fn report(folder: &TempDir) -> Command {
    let mut command = pgark();
    command
        .current_dir(folder.path())
        .env("PGARK_REPO", "repo")
        .arg("report");
    command
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{output:?}");
    output
}

#[test]
fn a_report_is_written_whole_to_a_file_or_to_standard_output() {
    let folder = repository();
    let file = folder.path().join("backups.html");
    std::fs::write(&file, "an older page").unwrap();
    let output = succeeds(report(&folder).args(["-o", "backups.html"]));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "backups.html: 1 archive, 0 alarms, 1 notice\n");
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("&lt;/td&gt;&lt;script&gt;") && page.contains("UTC"));
    assert_eq!(page.matches("<script").count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A web server of another user may read it, as the umask allows.
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
    }

    let output = succeeds(&mut report(&folder));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("<!DOCTYPE html>") && printed.ends_with("</html>\n"));

    let output = succeeds(report(&folder).args(["--json", "-o", "backups.html"]));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["archives"], 1);
    assert_eq!(value["problems"][0]["alarm"], false);
    let document = include_str!("../../docs/json.md");
    for field in value.as_object().unwrap().keys() {
        assert!(document.contains(&format!("`{field}`")), "{field}");
    }
    let output = report(&folder).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_report_takes_zone_and_objectives_from_the_configuration() {
    let folder = repository();
    let config = "timezone = \"Asia/Kathmandu\"\n[[repository]]\nname = \"main\"\nplace = \"repo\"\n\
                  [[job]]\nname = \"nightly\"\nsource = \"shop\"\nrepository = \"main\"\n";
    std::fs::write(folder.path().join("pgark.toml"), config).unwrap();
    let output = succeeds(report(&folder).args(["-r", "@main", "--job", "nightly"]));
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("Asia/Kathmandu"));
    assert!(page.contains("there is no archive of the job nightly"));
    assert!(!page.contains("&lt;script&gt;"), "another job's archives");
    let output = report(&folder)
        .args(["--config", "no.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_page_fits_a_desk_and_a_phone_in_light_and_dark_and_loads_nothing() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/page/full.html");
    let golden = std::fs::read_to_string(golden).unwrap();
    let mut grounds = Vec::new();
    for dark in [false, true] {
        for width in [1280, 360] {
            let name = format!("{}-{width}", if dark { "dark" } else { "light" });
            let seen = browser.open(&name, &golden, width, dark);
            assert_eq!(seen["dark"], dark, "{seen}");
            grounds.push(seen["ground"].clone());
        }
    }
    assert!(grounds[0] == grounds[1] && grounds[2] == grounds[3] && grounds[0] != grounds[2]);

    let folder = repository();
    let output = succeeds(&mut report(&folder));
    let hostile = String::from_utf8(output.stdout).unwrap();
    browser.open("hostile-360", &hostile, 360, false);
}

/// Chromium without a window.
struct Browser {
    program: PathBuf,
    folder: PathBuf,
}

impl Browser {
    /// `None` where there is none, which is a failure where everything must be there.
    fn find() -> Option<Browser> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join("chromium"))
            .find(|program| program.exists());
        let required = std::env::var("PGARK_REQUIRE_PG").is_ok_and(|value| value == "1");
        assert!(
            program.is_some() || !required,
            "chromium is missing; scripts/test --setup installs it"
        );
        if program.is_none() {
            println!("left out: there is no chromium");
        }
        // What it looked like stays there to be looked at.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
        std::fs::create_dir_all(&folder).unwrap();
        Some(Browser {
            program: program?,
            folder,
        })
    }

    /// Shows `page` in a frame of `width`, keeps a picture as `NAME.png`, and returns what was measured, after checking what must
    /// be true of every page.
    fn open(&self, name: &str, page: &str, width: u32, dark: bool) -> Value {
        let escaped = page.replace('&', "&amp;").replace('"', "&quot;");
        let frame = include_str!("frame.html")
            .replace("WIDTH", &width.to_string())
            .replace("PAGE", &escaped);
        let file = self.folder.join(format!("{name}.html"));
        std::fs::write(&file, frame).unwrap();
        let picture = self.folder.join(format!("{name}.png"));
        self.run(
            &file,
            dark,
            &[
                &format!("--screenshot={}", picture.display()),
                &format!("--window-size={},2400", width.max(500)),
            ],
        );
        let n_bytes = std::fs::metadata(&picture).unwrap().len();
        assert!(n_bytes > 10_000, "{name}: {n_bytes}");
        let output = self.run(
            &file,
            dark,
            &[
                "--dump-dom",
                "--window-size=1400,2400",
                "--virtual-time-budget=3000",
            ],
        );
        let dom = String::from_utf8(output.stdout).unwrap();
        let (_, seen) = dom.split_once("<pre id=\"seen\">").unwrap();
        let seen: Value = serde_json::from_str(seen.split_once("</pre>").unwrap().0).unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!log.contains("CONSOLE"), "{name}: {log}");
        assert_eq!(seen["loaded"], json!([]), "{name}");
        assert_eq!(seen["scripts"], 1, "{name}");
        assert_eq!(
            seen["broken"],
            Value::Null,
            "{name}: a name ran as a script"
        );
        assert_eq!(seen["client"], width, "{name}: {seen}");
        assert!(
            seen["scroll"].as_u64() <= seen["client"].as_u64(),
            "{name}: {seen}"
        );
        assert_eq!(seen["wide"], json!([]), "{name}");
        assert!(seen["height"].as_u64() > Some(400), "{name}: {seen}");
        seen
    }

    fn run(&self, file: &Path, dark: bool, options: &[&str]) -> Output {
        // A new profile each time: what one run left changes nothing of the next.
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("timeout");
        command.arg("60").arg(&self.program).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ]);
        if dark {
            command.arg("--blink-settings=preferredColorScheme=0");
        }
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command
            .args(options)
            .arg(format!("file://{}", file.display()));
        succeeds(&mut command)
    }
}
