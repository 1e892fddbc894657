//! Words that a key may have: what a section reads, what the schema tells and what a mistake names come from one list.

use schemars::Schema;

/// What a word means, of those that there are.
///
/// # Errors
/// When it is none of them, with all of them.
pub(super) fn chosen<T: Copy>(word: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(other, _)| *other == word);
    found.map(|(_, meant)| *meant).ok_or_else(|| format!("{word:?} is none of {}", of(choices).join(", ")))
}

/// The words alone.
pub(super) fn of<'w, T>(choices: &[(&'w str, T)]) -> Vec<&'w str> {
    choices.iter().map(|(word, _)| *word).collect()
}

/// Says in the schema of a list that each of it is one of these words.
pub(super) fn each(schema: &mut Schema, words: Vec<&str>) {
    if let Some(items) = schema.get_mut("items").and_then(serde_json::Value::as_object_mut) {
        items.insert("enum".to_owned(), words.into());
    }
}
