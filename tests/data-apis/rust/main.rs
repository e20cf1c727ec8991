//! The caller of a request, as the gateway established it.
use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_identity::LiveVerifier;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = env::var("IDENTITY_JWKS_URL")?;
    // Any blocking HTTP client will do. Called when the copy is two minutes old, and when a token names a key
    // that is not in it.
    let fetch = move || reqwest::blocking::get(&url)?.error_for_status()?.text();
    let verifier = LiveVerifier::new(&env::var("IDENTITY_ISSUER")?, env::var("CLUSTER")?.parse()?, fetch);
    // In a Data API: for each request, with the value of `portcullis_identity::HEADER`.
    for line in std::io::stdin().lines() {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        match verifier.verify(line?.trim(), now_s) {
            Ok(caller) => println!("{} {} {}", caller.subject, caller.tenant, caller.source_type.as_str()),
            Err(error) => println!("refused: {error}"),
        }
    }
    Ok(())
}
