//! A `CronJob` of Kubernetes for each job.

use std::fmt::Write as _;

use super::{Planned, StarterFile, Timetable, folders_of, secrets_of};
use crate::config::{Config, Secret};

/// A run that could not be started for so long is made up for; later ones wait for their own time.
const STARTING_DEADLINE_SECONDS: u32 = 6 * 3600;

/// The manifests, and how they are installed.
pub(super) fn timetable(planned: &[Planned<'_>], config: &Config) -> Timetable {
    let files: Vec<StarterFile> = planned
        .iter()
        .map(|one| StarterFile {
            name: format!("{}.yaml", object_name(one)),
            text: manifest(one, config),
        })
        .collect();
    let mut steps = vec![
        "kubectl create configmap pgark-config --from-file=pgark.toml=THIS_CONFIGURATION"
            .to_owned(),
    ];
    let mut names: Vec<String> = Vec::new();
    for secret in planned.iter().flat_map(|one| secrets_of(config, one)) {
        let name = key_of(secret);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if !names.is_empty() {
        let from: Vec<String> = names
            .iter()
            .map(|name| format!("--from-file={name}=FILE_WITH_{}", upper(name)))
            .collect();
        steps.push(format!(
            "kubectl create secret generic pgark-secrets {}",
            from.join(" ")
        ));
    }
    steps.push("kubectl apply -f DIR".to_owned());
    steps.push("kubectl get cronjobs shows them, kubectl create job --from=cronjob/NAME try-out starts one at once".to_owned());
    Timetable { files, steps }
}

fn manifest(one: &Planned<'_>, config: &Config) -> String {
    let name = object_name(one);
    let mut text = format!(
        "# Made by `pgark schedule --format kubernetes`.\n\
        apiVersion: batch/v1\n\
        kind: CronJob\n\
        metadata:\n  name: {name}\n\
        spec:\n  schedule: {schedule}\n",
        name = quoted(&name),
        schedule = quoted(&one.fields.plain()),
    );
    // Writing to a string does not fail.
    if let Some(zone) = &config.timezone {
        let _ = writeln!(text, "  timeZone: {}", quoted(zone));
    }
    let _ = write!(
        text,
        "  concurrencyPolicy: Forbid\n  \
        startingDeadlineSeconds: {STARTING_DEADLINE_SECONDS}\n  \
        successfulJobsHistoryLimit: 3\n  \
        failedJobsHistoryLimit: 3\n  \
        jobTemplate:\n    \
        spec:\n      \
        backoffLimit: 0\n      \
        template:\n        \
        spec:\n          \
        restartPolicy: Never\n          \
        securityContext:\n            \
        runAsNonRoot: true\n            \
        runAsUser: 65532\n            \
        fsGroup: 65532\n          \
        containers:\n            \
        - name: pgark\n              \
        image: pgark:latest\n              \
        args:\n"
    );
    let flags = ["--config", "/config/pgark.toml", "--progress", "none"];
    let flags = flags.map(str::to_owned);
    for argument in one.arguments.iter().chain(&flags) {
        let _ = writeln!(text, "                - {}", quoted(argument));
    }
    text.push_str(
        "              securityContext:\n                allowPrivilegeEscalation: false\n                readOnlyRootFilesystem: true\n                capabilities:\n                  drop: [\"ALL\"]\n",
    );
    push_secrets(&mut text, one, config);
    text
}

/// Variables, mounts and volumes.
fn push_secrets(text: &mut String, one: &Planned<'_>, config: &Config) {
    let secrets = secrets_of(config, one);
    let variables = secrets.iter().filter_map(|secret| match secret {
        Secret::Env(name) => Some((name, key_of(secret))),
        Secret::File(_) => None,
    });
    let mut env = String::new();
    for (name, key) in variables {
        let _ = write!(
            env,
            "                - name: {}\n                  valueFrom:\n                    secretKeyRef:\n                      name: pgark-secrets\n                      key: {}\n",
            quoted(name),
            quoted(&key)
        );
    }
    if !env.is_empty() {
        let _ = write!(text, "              env:\n{env}");
    }
    let mut mounts = vec![("config".to_owned(), "/config".to_owned(), None)];
    let mut volumes = "            - name: config\n              configMap:\n                name: pgark-config\n".to_owned();
    let mut any_file = false;
    for secret in &secrets {
        if let Secret::File(path) = secret {
            any_file = true;
            mounts.push((
                "secrets".to_owned(),
                path.display().to_string(),
                Some(key_of(secret)),
            ));
        }
    }
    if any_file {
        volumes.push_str("            - name: secrets\n              secret:\n                secretName: pgark-secrets\n                defaultMode: 288\n");
    }
    for (n, folder) in folders_of(config, one).into_iter().enumerate() {
        let volume = format!("repository-{}", n + 1);
        let _ = write!(
            volumes,
            "            - name: {volume}\n              persistentVolumeClaim:\n                claimName: pgark-{volume}\n"
        );
        mounts.push((volume, folder.to_owned(), None));
    }
    text.push_str("              volumeMounts:\n");
    for (volume, path, key) in mounts {
        let _ = write!(
            text,
            "                - name: {volume}\n                  mountPath: {}\n",
            quoted(&path)
        );
        if let Some(key) = key {
            let _ = writeln!(text, "                  subPath: {}", quoted(&key));
        }
        if volume == "config" || volume == "secrets" {
            text.push_str("                  readOnly: true\n");
        }
    }
    let _ = write!(text, "          volumes:\n{volumes}");
}

/// A job's name as that of an object: lower-case letters, digits and `-`, at most 52 with room for the runs' own endings.
pub(super) fn object_name(one: &Planned<'_>) -> String {
    let safe = one.name.to_ascii_lowercase().replace(['_', '.'], "-");
    let name = format!("pgark-{safe}");
    name[..name.len().min(52)].trim_end_matches('-').to_owned()
}

/// Under which key a secret lies in the cluster's own.
fn key_of(secret: &Secret) -> String {
    let text = match secret {
        Secret::Env(name) => name.clone(),
        Secret::File(path) => path.display().to_string(),
    };
    let safe: String = text
        .trim_start_matches('/')
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    safe
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace(['.', '-'], "_")
}

/// A YAML string in double quotes, which are JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
