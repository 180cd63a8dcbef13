//! Archives made by hand, entry by entry, for tests of what reads archives.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgark::archive::chunker::ChunkSettings;
use pgark::archive::index::{ChunkPiece, CopyFormat, Segment, TableIndex};
use pgark::archive::jsonl::JsonlWriter;
use pgark::archive::manifest::{FORMAT, Group, Manifest, Scope, Source, Totals};
use pgark::archive::{Archive, ChunkStore, Fingerprint, Repository};
use pgark::pg::version::V15;
use pgark::store::Store;
use pgark::toc::{Entry, EntryId};
use serde_json::{Value, json};

/// An archive that grows.
pub(crate) struct HandMade {
    repository: Repository,
    chunks: ChunkStore,
    entries: Vec<Entry>,
    indexes: Vec<TableIndex>,
}

impl HandMade {
    pub(crate) async fn new(store: Arc<dyn Store>) -> HandMade {
        let repository = Repository::open_or_create(store, ChunkSettings::default())
            .await
            .unwrap();
        HandMade {
            chunks: repository.chunks(1),
            repository,
            entries: Vec::new(),
            indexes: Vec::new(),
        }
    }

    /// Adds an entry given as JSON without its number; `name` is `schema.relation.name`, `schema.name` or `name`.
    pub(crate) fn entry(&mut self, label: &str, name: &str, stage: &str, rest: &Value) -> u32 {
        let parts: Vec<&str> = name.split('.').collect();
        let name = match parts.as_slice() {
            [schema, relation, name] => {
                json!({"schema": schema, "relation": relation, "name": name})
            }
            [schema, name] => json!({"schema": schema, "name": name}),
            _ => json!({"name": name}),
        };
        self.with_name(label, &name, stage, rest)
    }

    /// Adds an entry without a schema, whose name may have dots and anything else in it.
    pub(crate) fn named(&mut self, label: &str, name: &str, stage: &str, rest: &Value) -> u32 {
        self.with_name(label, &json!({ "name": name }), stage, rest)
    }

    fn with_name(&mut self, label: &str, name: &Value, stage: &str, rest: &Value) -> u32 {
        let id = u32::try_from(self.entries.len()).unwrap();
        let mut entry = json!({"id": id, "label": label, "name": name, "stage": stage});
        for (key, value) in rest.as_object().unwrap() {
            entry[key] = value.clone();
        }
        self.entries.push(serde_json::from_value(entry).unwrap());
        id
    }

    /// Adds rows, one text per segment; a row ends with a newline.
    pub(crate) async fn rows(&mut self, entry: u32, columns: &[&str], segments: &[String]) {
        let texts: Vec<Vec<u8>> = segments
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        let mut fingerprint = Fingerprint::default();
        for line in segments.iter().flat_map(|text| text.lines()) {
            fingerprint.add_row(line.as_bytes());
        }
        let counts: Vec<u64> = segments
            .iter()
            .map(|text| text.lines().count() as u64)
            .collect();
        let parts: Vec<(Vec<u8>, u64)> = texts.into_iter().zip(counts).collect();
        self.index(entry, columns, CopyFormat::Text, parts, fingerprint)
            .await;
    }

    /// Adds rows in any format.
    pub(crate) async fn index(
        &mut self,
        entry: u32,
        columns: &[&str],
        format: CopyFormat,
        parts: Vec<(Vec<u8>, u64)>,
        fingerprint: Fingerprint,
    ) {
        let mut segments = Vec::new();
        let mut n_bytes = 0;
        for (raw, n_rows) in parts {
            let mut pieces = Vec::new();
            n_bytes += raw.len() as u64;
            // Cut in the middle of rows too.
            for part in raw.chunks(300_007) {
                let stored = self.chunks.put(part.to_vec()).await.unwrap().chunk;
                pieces.push(ChunkPiece {
                    chunk: stored.chunk,
                    stored_bytes: stored.stored_bytes,
                    chunk_bytes: stored.chunk_bytes,
                    offset: 0,
                    n_bytes: stored.chunk_bytes,
                });
            }
            segments.push(Segment {
                blocks: None,
                keys: None,
                n_rows,
                pieces,
            });
        }
        self.indexes.push(TableIndex {
            entry: EntryId(entry),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            format,
            n_rows: segments.iter().map(|segment| segment.n_rows).sum(),
            n_bytes,
            fingerprint: fingerprint.hex(),
            cell_blocks: None,
            cell_key: None,
            segments,
        });
    }

    /// Adds the rows of several small tables in one chunk, in their order.
    pub(crate) async fn packed(&mut self, tables: &[(u32, &[&str], String)]) {
        let all: String = tables.iter().map(|(_, _, text)| text.as_str()).collect();
        let stored = self.chunks.put(all.into_bytes()).await.unwrap().chunk;
        let mut offset = 0;
        for (entry, columns, text) in tables {
            self.rows(*entry, columns, &[]).await;
            let index = self.indexes.last_mut().unwrap();
            let mut fingerprint = Fingerprint::default();
            text.lines()
                .for_each(|line| fingerprint.add_row(line.as_bytes()));
            index.n_rows = fingerprint.n_rows();
            index.n_bytes = text.len() as u64;
            index.fingerprint = fingerprint.hex();
            index.segments = vec![Segment {
                blocks: None,
                keys: None,
                n_rows: index.n_rows,
                pieces: vec![ChunkPiece {
                    chunk: stored.chunk,
                    stored_bytes: stored.stored_bytes,
                    chunk_bytes: stored.chunk_bytes,
                    offset,
                    n_bytes: index.n_bytes,
                }],
            }];
            offset += index.n_bytes;
        }
    }

    /// Writes the streams and the manifest.
    pub(crate) async fn finish(self, name: &str) -> Archive {
        let settings = ChunkSettings::default();
        let mut toc = JsonlWriter::new(self.chunks.clone(), settings);
        for entry in &self.entries {
            toc.push(entry).await.unwrap();
        }
        let mut data_index = JsonlWriter::new(self.chunks.clone(), settings);
        for index in &self.indexes {
            data_index.push(index).await.unwrap();
        }
        let now = jiff::Timestamp::now();
        let manifest = Manifest {
            read_version: FORMAT,
            write_version: FORMAT,
            features: Vec::new(),
            name: name.parse().unwrap(),
            repository: self.repository.marker().repository.clone(),
            created: now,
            group: Group {
                system_identifier: "1".into(),
                database: "made".into(),
                job: None,
                scope: Scope::Full,
            },
            source: Source {
                server_version: V15,
                server_version_text: "15".into(),
                system_identifier: "1".into(),
                database: "made".into(),
                encoding: "UTF8".into(),
                locale: BTreeMap::from([
                    ("collate".into(), "C".into()),
                    ("ctype".into(), "C".into()),
                ]),
                extensions: BTreeMap::new(),
                snapshot_lsn: None,
                started: now,
                finished: now,
            },
            selection: Vec::new(),
            skipped: Vec::new(),
            totals: Totals {
                n_entries: self.entries.len() as u64,
                n_tables: self.indexes.len() as u64,
                ..Totals::default()
            },
            toc: toc.finish().await.unwrap().refs(),
            data_index: data_index.finish().await.unwrap().refs(),
            tool: Manifest::this_tool(),
            tags: BTreeMap::new(),
            set: None,
            inventory: Vec::new(),
        };
        self.repository.commit(&manifest).await.unwrap()
    }
}
