//! A stand-in for an embedder, which misbehaves on demand, and a small model file.

#![allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "each test uses a part of it")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The components of the stand-in's vectors.
pub const DIMENSION: usize = 16;

/// Words that mean the same are one axis.
const MEANINGS: [&[&str]; 3] =
    [&["automobile", "car", "vehicle", "wheels"], &["oven", "bakes", "bread", "baker"], &["office", "closed"]];

/// The tokens of the small model.
pub const VOCABULARY: [&str; 12] =
    ["[UNK]", "automobile", "car", "vehicle", "wheels", "oven", "bakes", "bread", "baker", "office", "closed", "##s"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Good,
    /// It takes questions and never answers.
    Hangs,
    /// It closes the connection.
    HangsUp,
    /// Vectors of one answer differ in their dimension.
    Dimension,
    NotANumber,
    Infinite,
    Zero,
    /// One vector too few.
    TooFew,
    /// An answer that does not end soon.
    Huge,
    NoJson,
    /// 404 and a reason.
    Refuses,
    OtherModel,
    OtherDimension,
}

#[derive(Clone)]
pub struct StandIn {
    address: std::net::SocketAddr,
    state: Arc<Mutex<(Mode, Vec<String>)>>,
}

impl StandIn {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new((Mode::Good, vec![]))) };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    let _ = serving.serve(stream).await;
                });
            }
        });
        this
    }

    pub fn ollama(&self) -> String {
        format!("http://{}/api/embed", self.address)
    }

    pub fn openai(&self) -> String {
        format!("http://{}/v1/embeddings", self.address)
    }

    pub fn set(&self, mode: Mode) {
        self.state.lock().unwrap().0 = mode;
    }

    /// All texts that it was asked for.
    pub fn texts(&self) -> Vec<String> {
        self.state.lock().unwrap().1.clone()
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let (end, length) = loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Some(end) = text.find("\r\n\r\n") {
                let length = text[..end].to_lowercase();
                let length = length.split("content-length:").nth(1).unwrap().lines().next().unwrap().trim().to_owned();
                break (end + 4, length.parse::<usize>().unwrap());
            }
        };
        let ollama = bytes.starts_with(b"POST /api/embed ");
        while bytes.len() < end + length {
            stream.read_buf(&mut bytes).await?;
        }
        let asked: Value = serde_json::from_slice(&bytes[end..end + length]).unwrap();
        let texts: Vec<String> = serde_json::from_value(asked["input"].clone()).unwrap();
        let mode = {
            let mut state = self.state.lock().unwrap();
            state.1.extend(texts.iter().cloned());
            state.0
        };
        let poison = texts.iter().any(|text| text == "poison");
        let mut vectors: Vec<Value> = texts.iter().map(|text| json!(vector(text, mode))).collect();
        match mode {
            Mode::Hangs => std::future::pending().await,
            Mode::HangsUp => return Ok(()),
            Mode::Dimension => {
                vectors.iter_mut().enumerate().for_each(|(n, vector)| *vector = json!(vec![1.0; n + 4_096]))
            }
            Mode::Zero => vectors.iter_mut().for_each(|vector| *vector = json!([0.0, 0.0])),
            // larger than a number of 32 bits can be
            Mode::Infinite => vectors.iter_mut().for_each(|vector| *vector = json!([1e300, 1.0])),
            Mode::TooFew => drop(vectors.pop()),
            _ => {}
        }
        let body = match mode {
            Mode::NoJson => "a page".to_owned(),
            Mode::NotANumber => json!({"embeddings": vectors}).to_string().replacen("0.1", "NaN", 1),
            Mode::Refuses => "no such model".to_owned(),
            _ if ollama => json!({"model": "m", "embeddings": vectors}).to_string(),
            _ => {
                let items = vectors.into_iter().enumerate().map(|(n, one)| json!({"index": n, "embedding": one}));
                json!({"data": items.rev().collect::<Vec<_>>()}).to_string()
            }
        };
        let (status, body) = match mode {
            Mode::Refuses => (404, body),
            _ if poison => (400, "I do not like that".to_owned()),
            _ => (200, body),
        };
        let length = if mode == Mode::Huge { 1 << 40 } else { body.len() };
        stream.write_all(format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await?;
        if mode == Mode::Huge {
            loop {
                stream.write_all(&[b' '; 1 << 16]).await?;
            }
        }
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }
}

/// A vector of a text: its meanings, and a little of each other word.
fn vector(text: &str, mode: Mode) -> Vec<f32> {
    let dimension = if mode == Mode::OtherDimension { DIMENSION + 1 } else { DIMENSION };
    let mut vector = vec![0.0; dimension];
    vector[dimension - 1] = 0.1;
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        match MEANINGS.iter().position(|words| words.contains(&word)) {
            Some(axis) => vector[axis] += 1.0,
            None => vector[3 + word.bytes().map(usize::from).sum::<usize>() % (DIMENSION - 4)] += 0.1,
        }
    }
    if mode == Mode::OtherModel {
        vector.reverse();
    }
    vector
}

/// Writes a model: a tokenizer of whole words, and a vector for each.
pub fn write_model(directory: &Path, dimension: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let vocabulary: serde_json::Map<String, Value> =
        VOCABULARY.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let mut numbers = Vec::new();
    for token in VOCABULARY {
        let mut row = vec![0.0_f32; dimension];
        match MEANINGS.iter().position(|words| words.contains(&token)) {
            Some(axis) => row[axis] = 1.0,
            None => row[dimension - 1] = 0.5,
        }
        numbers.extend(row);
    }
    write_tensor(&directory.join("model.safetensors"), "embeddings", &[VOCABULARY.len(), dimension], &numbers);
}

/// Writes a safetensors file with one tensor.
pub fn write_tensor(path: &Path, name: &str, shape: &[usize], numbers: &[f32]) {
    let header = json!({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * numbers.len()]}}).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}
