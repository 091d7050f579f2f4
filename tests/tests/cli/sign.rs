//! `flowcast key` and `flowcast sign`: a signed model goes to a board that asks for it, any other is refused before.

use super::Bench;
use flowcast_core::format::Numeric;
use flowcast_core::presets::PRESETS;
use flowcast_core::signature::SIGNATURE_BYTES;
use flowcast_tests::random_model_as;

#[test]
fn a_model_is_signed_and_flashed_by_its_key() {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    bench.write("m.flow", &random_model_as(Numeric::I8, &PRESETS[0], 1, 24, 24, 1));
    let made = bench.json(&["key", "new", "own.key"]);
    assert_eq!(made["key"].as_str().unwrap().len(), 64);
    assert_eq!((&made["file"], &made["public"]), (&"own.key".into(), &"own.key.pub".into()));
    bench.json(&["key", "new", "other.key"]);
    assert!(bench.refusal(&["key", "new", "own.key"]).contains("own.key is there already"));
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(bench.folder.path().join("own.key")).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
    let flash = ["flash", "m.flow", "--board", "rp2040", "--model-only", "--dry-run", "--key"];
    let refused = bench.refusal(&[&flash[..], &["own.key.pub"]].concat());
    assert!(refused.contains("model is not signed"), "{refused}");
    let plain = bench.bytes("m.flow");
    assert!(bench.json(&["inspect", "m.flow"])["signed_bytes"].is_null());
    let signed = bench.json(&["sign", "m.flow", "--key", "own.key"]);
    assert_eq!(signed["key"], made["key"]);
    let bytes = bench.bytes("m.flow");
    assert!(bytes.starts_with(&plain) && bytes.len() == plain.len() + SIGNATURE_BYTES);
    // Signed twice is signed once.
    assert!(signed.get("replaced").is_none());
    assert_eq!(bench.json(&["sign", "m.flow", "--key", "own.key"])["replaced"], "same");
    assert_eq!(bench.bytes("m.flow"), bytes);
    // Another's signature does not go in silence.
    let other = bench.json(&["sign", "m.flow", "--key", "other.key", "--out", "others.flow"]);
    assert_eq!((&other["replaced"], other["notes"].as_array().unwrap().len()), (&"foreign".into(), 1));
    let other = bench.run(&["sign", "m.flow", "--key", "other.key", "--out", "others.flow"]);
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.starts_with("note: m.flow had a signature that does not match model and key"), "{said}");
    let report = bench.json(&[&flash[..], &["own.key.pub"]].concat());
    let slot = report["layout"].as_array().unwrap().iter().find(|place| place["name"] == "model A").unwrap();
    assert_eq!((&report["fits"], &slot["bytes"]), (&true.into(), &bytes.len().into()));
    // Whoever flashes boards has no private key.
    let private = bench.refusal(&[&flash[..], &["own.key"]].concat());
    assert!(private.contains("own.key is the private key") && private.ends_with("own.key.pub"), "{private}");
    bench.write("noise.key", &[0xFF, 0xFE, 0x00]);
    for words in [&[&flash[..], &["noise.key"]].concat()[..], &["sign", "m.flow", "--key", "noise.key"]] {
        let error = bench.refusal(words);
        assert!(error.contains("noise.key is no key, expected a PEM file"), "{error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", bench.folder.path().join("link.key")).unwrap();
        assert!(bench.refusal(&["key", "new", "link.key"]).contains("link.key is there already"));
    }
    let foreign = bench.refusal(&[&flash[..], &["other.key.pub"]].concat());
    let mismatch = "signature does not match model and key: another key signed it, or model or signature was altered";
    assert!(foreign.ends_with(mismatch), "{foreign}");
    // Its own signature, altered: nobody can say that another key signed.
    let mut altered = bytes.clone();
    altered[plain.len() + 20] ^= 1;
    bench.write("altered.flow", &altered);
    let words = flash.map(|word| if word == "m.flow" { "altered.flow" } else { word });
    let error = bench.refusal(&[&words[..], &["own.key.pub"]].concat());
    assert!(error.ends_with(mismatch), "{error}");
    assert!(bench.refusal(&["sign", "m.flow", "--key", "own.key.pub"]).contains("own.key.pub is no private key"));
    // A mistyped output costs neither a key nor data.
    let key = bench.bytes("other.key");
    let lost = bench.refusal(&["sign", "m.flow", "--key", "own.key", "--out", "other.key"]);
    assert!(lost.contains("other.key is there and no .flow file"), "{lost}");
    assert_eq!(bench.run(&["export", "m.safetensors", "--out", "other.key"]).status.code(), Some(2));
    assert_eq!(bench.bytes("other.key"), key);
    // Whoever asks for no signature sees the same model.
    let inspected = bench.json(&["inspect", "m.flow"]);
    assert_eq!((&inspected["bytes"], &inspected["behind"]), (&plain.len().into(), &"a signature".into()));
    assert_eq!(inspected["signed_bytes"], bytes.len());
    let text = String::from_utf8(bench.run(&["inspect", "m.flow"]).stdout).unwrap();
    assert!(text.contains(&format!("signed    {} bytes with the signature", bytes.len())), "{text}");
    // What lies behind the signature is no part of it, for `flash --key` as for `inspect`.
    bench.write("more.flow", &[&bytes[..], b"more"].concat());
    let inspected = bench.json(&["inspect", "more.flow"]);
    assert_eq!(inspected["behind"], "a signature and other bytes");
    assert_eq!(inspected["signed_bytes"], bytes.len());
    let more = flash.map(|word| if word == "m.flow" { "more.flow" } else { word });
    assert_eq!(bench.json(&[&more[..], &["own.key.pub"]].concat())["fits"], true);
}
