//! Compiles the contract in pure Rust: no `protoc` is needed.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["larder/v1/feature_service.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("larder.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".larder.v1.GetHistoricalFeaturesRequest.arrow_ipc")
        .bytes(".larder.v1.GetHistoricalFeaturesResponse.arrow_ipc")
        .compile_fds(descriptors)?;
    Ok(())
}
