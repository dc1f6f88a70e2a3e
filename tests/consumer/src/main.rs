//! Prints the embedding of a text as JSON, and replays the golden cases of artifacts: `consumer EMBEDDING [ARTIFACT ...]`.

use std::path::Path;

use onnx_ml_bridge::families::{Artifact, replay};
use onnx_ml_bridge::{MlBridge, OnnxMlBridge};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let artifact = std::env::args_os().nth(1).ok_or("usage: consumer EMBEDDING [ARTIFACT ...]")?;
    let bridge = OnnxMlBridge::builder().model(Path::new(&artifact)).build()?;
    let vector = bridge.generate_embedding("Hello world").await?;
    println!("{}", serde_json::to_string(&vector)?);
    for path in std::env::args_os().skip(2) {
        replay(Artifact::verify(Path::new(&path))?, None)?;
    }
    #[cfg(feature = "fastembed")]
    eprintln!("beside fastembed with {:?}", fastembed::EmbeddingModel::AllMiniLML6V2);
    Ok(())
}
