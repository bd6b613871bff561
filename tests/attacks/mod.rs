//! The corpus of hostile requests, read from `requests.jsonl`.

use ssh_encoding::{Base64Reader, Reader};

/// A request and what must come of it.
#[derive(Debug)]
pub struct Row {
    pub id: String,
    pub bytes: Vec<u8>,
    pub expect: String,
}

pub fn corpus() -> Vec<Row> {
    include_str!("requests.jsonl").lines().map(row).collect()
}

fn row(line: &str) -> Row {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let bytes = match (&row["repeat"], text("input"), text("input_b64")) {
        (serde_json::Value::Array(repeat), ..) => {
            let times = usize::try_from(repeat[1].as_u64().unwrap()).unwrap();
            let middle = repeat[0].as_str().unwrap().repeat(times);
            let (before, behind) = (text("prefix").unwrap_or_default(), text("suffix").unwrap_or_default());
            format!("{before}{middle}{behind}").into_bytes()
        }
        (_, Some(text), _) => text.into_bytes(),
        (.., Some(base64)) => {
            let mut reader = Base64Reader::new(base64.as_bytes()).unwrap();
            let mut bytes = vec![0; reader.remaining_len()];
            reader.read(&mut bytes).unwrap();
            bytes
        }
        _ => panic!("no input: {line}"),
    };
    Row { id: text("id").unwrap(), bytes, expect: text("expect").unwrap() }
}
