//! Compiles the contract in pure Rust: no `protoc` is needed.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

/// Methods whose server side is written by hand: `wire::online` says why.
const ONLINE_REQUEST: &str = ".larder.v1.GetOnlineFeaturesRequest";
const ONLINE_RESPONSE: &str = ".larder.v1.GetOnlineFeaturesResponse";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["larder/v1/feature_service.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("larder.v1.bin"), descriptors.encode_to_vec())?;
    // Messages and client.
    tonic_prost_build::configure()
        .build_server(false)
        // Rows of a spine go back as they came: equal rows in equal bytes.
        .btree_map(".larder.v1.SpineRow")
        .bytes(".larder.v1.GetHistoricalFeaturesRequest.arrow_ipc")
        .bytes(".larder.v1.GetHistoricalFeaturesResponse.arrow_ipc")
        .compile_fds(descriptors.clone())?;
    // The server: the same messages, but for the two of the online answer.
    let server = out.join("server");
    fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(server)
        .extern_path(".larder.v1", "crate::wire::proto")
        .extern_path(ONLINE_REQUEST, "crate::wire::online::Request")
        .extern_path(ONLINE_RESPONSE, "crate::wire::online::Reply")
        .codec_path("crate::api::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
