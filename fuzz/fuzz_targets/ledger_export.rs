//! An export of the ledger is outside data to whoever verifies it: nothing in it may make the verifier panic, and what
//! passes must be an export in every byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_ledger::file::read_notes;
use stanch_ledger::{Proof, SignedCheckpoint, Trust, verify};

fuzz_target!(|data: &[u8]| {
    let _ = verify(data, &Trust::default());
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(note) = text.parse::<SignedCheckpoint>() {
            assert_eq!(note.to_string(), text);
        }
        let _ = read_notes(text);
        if let Ok(proof) = serde_json::from_str::<Proof>(text) {
            let _ = proof.check(&stanch_model::sign::VerifyingKey::from_bytes([0; 32]));
        }
    }
});
