//! A manifest from anywhere, sealed or not, is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::archive::digest::Digest;
use pgark::archive::manifest::Manifest;

fuzz_target!(|bytes: &[u8]| {
    let name = "shop-1".parse().expect("a name");
    let _ = Manifest::read(bytes, &name, "here");
    // Nothing behind the seal is reached by chance.
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(format!("\n{}\n", Digest::of(bytes)).as_bytes());
    if let Ok((manifest, _)) = Manifest::read(&sealed, &name, "here") {
        assert_eq!(manifest.name, name);
    }
});
