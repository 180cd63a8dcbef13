//! The archive's text on a target with an encoding. A database without one (`SQL_ASCII`) holds bytes that only its users can
//! read: they may declare what the bytes are, and the text is then turned into characters before anything else is done with
//! it. What cannot be text on the target is found here, before the first change. Rows are turned by COPY itself.

use std::collections::{BTreeSet, HashMap};

use postgres_types::{ToSql, Type};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::create;
use super::options::RestoreOptions;
use super::prove::Indexes;
use super::report::object_of;
use crate::archive::Archive;
use crate::archive::index::TableIndex;
use crate::error::{Error, Result};
use crate::pg::pin::client_encoding;
use crate::pg::{ConnSettings, Session, connect};
use crate::sql::{escape, has_escapes, printable, unescape};
use crate::toc::{Entry, Part};

/// The encoding that says nothing.
pub(super) const NONE: &str = "SQL_ASCII";
/// The last of PostgreSQL's encodings that a database can have; in the others a byte below 0x80 may be part of a character, so
/// that text which was quoted as bytes is not theirs (`pg_wchar.h`, `PG_ENCODING_BE_LAST`).
const LAST_OF_SERVER: i32 = 34;
/// Bytes of text that the server turns at once.
const BATCH_BYTES: usize = 1 << 20;
/// Objects that are listed; more are counted.
const LISTED_MAX: usize = 20;

/// What the user declared the archive's bytes to be, with a server that can turn them.
#[derive(Debug)]
pub(super) struct Declared {
    session: Session,
    encoding: String,
}

impl Declared {
    /// Takes the declaration of the options, if there is one.
    ///
    /// Errors: [`Error::Usage`] if the archive has an encoding of its own, or no database can have the declared one.
    pub(super) async fn open(
        archive: &Archive,
        target: &ConnSettings,
        options: &RestoreOptions,
    ) -> Result<Option<Declared>> {
        let Some(encoding) = &options.text_encoding else {
            return Ok(None);
        };
        let own = &archive.manifest().source.encoding;
        if own != NONE {
            return Err(Error::Usage(format!(
                "--text-encoding says what the bytes of a database without an encoding (SQL_ASCII) are; this archive's is {own}"
            )));
        }
        let session = if options.create {
            create::look(target).await?.0
        } else {
            connect(target, "restore").await?
        };
        session.pin(&[client_encoding()]).await?;
        let query = "SELECT n, pg_catalog.pg_encoding_to_char(n)::pg_catalog.text \
                     FROM (SELECT pg_catalog.pg_char_to_encoding($1) AS n) AS e";
        let rows = session
            .query("the encoding", query, &[(encoding, Type::NAME)])
            .await?;
        let known = rows
            .first()
            .map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1)));
        match known {
            Some((1..=LAST_OF_SERVER, encoding)) => Ok(Some(Declared { session, encoding })),
            _ => Err(Error::Usage(format!(
                "--text-encoding {encoding}: this is no encoding that a database can have; LATIN1, WIN1252 and UTF8 are some"
            ))),
        }
    }

    /// The encoding, by the server's name.
    pub(super) fn encoding(&self) -> &str {
        &self.encoding
    }

    /// Turns the text of the entries into characters; what cannot be is left as it is, and named.
    pub(super) async fn entries(&self, entries: Vec<Entry>) -> Result<(Vec<Entry>, Vec<String>)> {
        let (entries, unreadable) = self.translate(entries).await?;
        let mut unfit = Unfit::default();
        for (at, text) in unreadable {
            unfit.add(&entries[at], &text);
        }
        let findings = unfit.finding(
            &format!("bytes that are no {}", self.encoding),
            "declare another --text-encoding, or restore into a database with ENCODING 'SQL_ASCII'",
        );
        Ok((entries, findings))
    }

    /// Turns the names of columns into characters. One that is none was found in the table's entry.
    pub(super) async fn indexes(&self, indexes: Indexes) -> Result<Indexes> {
        let (indexes, _) = self.translate(indexes.into_values().collect()).await?;
        let indexes = indexes.into_iter();
        Ok(indexes
            .map(|index: TableIndex| (index.entry, index))
            .collect())
    }

    /// Turns all text of the documents into characters. The second value has the documents that hold what is none in the
    /// declared encoding, by number, with the first such text; they stay as they are there.
    async fn translate<T: Serialize + DeserializeOwned>(
        &self,
        documents: Vec<T>,
    ) -> Result<(Vec<T>, Vec<(usize, String)>)> {
        let mut values = Vec::with_capacity(documents.len());
        let mut texts = BTreeSet::new();
        for document in documents {
            let mut value = serde_json::to_value(document).expect("archived documents are JSON");
            each_text(&mut value, &mut |text| {
                if !text.is_ascii() {
                    texts.insert(text.clone());
                }
            });
            values.push(value);
        }
        let known = self.read_all(texts.into_iter().collect()).await?;
        let mut unreadable = Vec::new();
        let mut out = Vec::with_capacity(values.len());
        for (at, mut value) in values.into_iter().enumerate() {
            let mut first = None;
            each_text(&mut value, &mut |text| match known.get(text.as_str()) {
                Some(Some(read)) => text.clone_from(read),
                Some(None) => first = first.take().or_else(|| Some(text.clone())),
                None => {}
            });
            unreadable.extend(first.map(|text| (at, text)));
            out.push(serde_json::from_value(value).expect("only texts were changed"));
        }
        Ok((out, unreadable))
    }

    /// What each text reads in the declared encoding; `None` if it is no text there.
    async fn read_all(&self, texts: Vec<String>) -> Result<HashMap<String, Option<String>>> {
        let mut known = HashMap::with_capacity(texts.len());
        let mut open: Vec<Vec<String>> = batches(texts);
        while let Some(batch) = open.pop() {
            match self.read(&batch).await {
                Ok(read) => known.extend(batch.into_iter().zip(read.into_iter().map(Some))),
                Err(error) if is_unreadable(&error) => {
                    if let [_] = batch.as_slice() {
                        known.extend(batch.into_iter().map(|text| (text, None)));
                    } else {
                        let (first, second) = batch.split_at(batch.len() / 2);
                        open.extend([first.to_vec(), second.to_vec()]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    async fn read(&self, texts: &[String]) -> Result<Vec<String>> {
        let bytes: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| unescape(text).into_owned())
            .collect();
        let bytes: &(dyn ToSql + Sync) = &bytes;
        let rows = self
            .session
            .query(
                "turning the archive's text into characters",
                "SELECT pg_catalog.convert(t.bytes, $2, 'UTF8') \
                 FROM pg_catalog.unnest($1) WITH ORDINALITY AS t(bytes, place) ORDER BY t.place",
                &[(bytes, Type::BYTEA_ARRAY), (&self.encoding, Type::NAME)],
            )
            .await?;
        // Escaped once more: a character that stands for a byte elsewhere is itself here.
        Ok(rows
            .iter()
            .map(|row| escape(row.get::<_, &[u8]>(0)).into_owned())
            .collect())
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        self.session.close().await;
    }
}

/// No such character, in the encoding or in Unicode.
pub(super) fn is_unreadable(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("22021" | "22P05"))
}

fn batches(texts: Vec<String>) -> Vec<Vec<String>> {
    let mut batches = vec![Vec::new()];
    let mut n_bytes = 0;
    for text in texts {
        if n_bytes > BATCH_BYTES {
            batches.push(Vec::new());
            n_bytes = 0;
        }
        n_bytes += text.len();
        batches.last_mut().expect("there is one").push(text);
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Calls `act` with every string value of a document, the names of its fields excepted.
fn each_text(value: &mut Value, act: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => act(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, act)),
        Value::Object(fields) => fields.values_mut().for_each(|value| each_text(value, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Why some entries cannot be what they are on a target of this encoding, in words, with the remedy.
pub(super) fn findings<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    (archive, target): (&str, &str),
    options: &RestoreOptions,
) -> Vec<String> {
    // Declared text was looked at when it was turned.
    if target == NONE || options.text_encoding.is_some() {
        return Vec::new();
    }
    let undeclared = archive == NONE;
    let fits = |text: &str| match (undeclared, target) {
        // Text of unknown encoding is only what it is if it is ASCII, or if it is read as it would be written.
        (true, "UTF8") | (false, _) => std::str::from_utf8(&unescape(text)).is_ok(),
        (true, _) => text.is_ascii(),
    };
    let remedy = if undeclared {
        "say what the bytes are (--text-encoding LATIN1), or restore into a database with ENCODING 'SQL_ASCII'"
    } else {
        "leave owners and privileges out (--no-owner --no-privileges), or restore into a database with ENCODING 'SQL_ASCII'"
    };
    let mut unfit = Unfit::default();
    for entry in entries {
        if let Some(text) = first_unfit(entry, options, &fits) {
            unfit.add(entry, &text);
        }
    }
    let what = if undeclared {
        format!("bytes of no known encoding, and the target's is {target}")
    } else {
        format!("names of another database's encoding, which are no {target}")
    };
    unfit.finding(&what, remedy)
}

#[derive(Default)]
struct Unfit {
    listed: Vec<String>,
    n: usize,
}

impl Unfit {
    fn add(&mut self, entry: &Entry, text: &str) {
        self.n += 1;
        if self.listed.len() < LISTED_MAX {
            let object = object_of(entry);
            self.listed
                .push(if object.is_ascii() && !object.contains("\\x") {
                    format!("{object} ({})", around(text))
                } else {
                    object
                });
        }
    }

    /// One finding about all of them, or none.
    fn finding(self, what: &str, remedy: &str) -> Vec<String> {
        if self.n == 0 {
            return Vec::new();
        }
        let n_more = self.n - self.listed.len();
        let more = if n_more > 0 {
            format!(" and {n_more} more")
        } else {
            String::new()
        };
        let objects = if self.n == 1 {
            "1 object holds".to_owned()
        } else {
            format!("{} objects hold", self.n)
        };
        let listed = self.listed.join(", ");
        vec![format!("{objects} {what}: {listed}{more}; {remedy}")]
    }
}

/// The first byte that is no character, with what stands around it.
fn around(text: &str) -> String {
    const CHARS: usize = 20;
    let bad = |c: char| !c.is_ascii();
    let has_escape = has_escapes(text);
    let at = text.chars().position(|c| {
        if has_escape {
            has_escapes(c.encode_utf8(&mut [0; 4]))
        } else {
            bad(c)
        }
    });
    let from = at.unwrap_or(0).saturating_sub(CHARS);
    let part: String = text.chars().skip(from).take(2 * CHARS).collect();
    printable(&part)
}

fn first_unfit(
    entry: &Entry,
    options: &RestoreOptions,
    fits: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let mut value = serde_json::to_value(relevant(entry, options)).expect("an entry is JSON");
    let mut found = None;
    each_text(&mut value, &mut |text| {
        if found.is_none() && !text.is_ascii() && !fits(text) {
            found = Some(text.clone());
        }
    });
    found
}

/// The entry as far as the options let it be restored.
fn relevant(entry: &Entry, options: &RestoreOptions) -> Entry {
    let choice = &options.selection;
    let mut entry = entry.clone();
    if !choice.wants_part(Part::Owner) {
        entry.owner = None;
    }
    if !choice.wants_part(Part::Acl) {
        entry.grants.clear();
    }
    entry.after.retain(|after| choice.wants_part(after.part));
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Literal, sql};
    use crate::toc::{EntryId, EntryName, Form, Stage, Step};

    fn entry(name: &str) -> Entry {
        let json = serde_json::json!({
            "id": 0, "label": "schema", "name": EntryName { name: name.into(), ..EntryName::default() },
            "stage": Stage::PreData, "forms": [], "drop": ""
        });
        let mut entry: Entry = serde_json::from_value(json).unwrap();
        entry.id = EntryId(0);
        entry.forms = vec![Form {
            steps: vec![Step {
                sql: vec![sql!["SELECT ", Literal(name)]],
                ..Step::default()
            }],
            ..Form::default()
        }];
        entry
    }

    fn found(names: &[&str], encodings: (&str, &str)) -> Vec<String> {
        let entries: Vec<Entry> = names.iter().map(|name| entry(name)).collect();
        findings(entries.iter(), encodings, &RestoreOptions::default())
    }

    #[test]
    fn bytes_without_an_encoding_are_never_guessed() {
        let names = ["plain", "é", "caf\u{10FFE9}"];
        assert_eq!(found(&names, ("SQL_ASCII", "SQL_ASCII")), [""; 0]);
        let utf8 = found(&names, ("SQL_ASCII", "UTF8"));
        assert_eq!(utf8.len(), 1);
        assert!(
            utf8[0].starts_with("1 object holds") && utf8[0].contains("schema caf\\xE9; say"),
            "{utf8:?}"
        );
        assert!(found(&names, ("SQL_ASCII", "LATIN1"))[0].starts_with("2 objects"));
        assert!(found(&names, ("UTF8", "LATIN1"))[0].starts_with("1 object"));
        assert_eq!(found(&names, ("UTF8", "SQL_ASCII")).len(), 0);
    }

    #[test]
    fn many_findings_are_counted() {
        let names = vec!["\u{10FFE9}"; LISTED_MAX + 3];
        let found = found(&names, ("SQL_ASCII", "UTF8"));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("\\xE9 and 3 more; "), "{found:?}");
    }
}
