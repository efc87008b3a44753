//! The OpenAPI document: `windu openapi` prints it without a database or a setting.

use std::process::Command;

use serde_json::Value;

#[test]
fn windu_openapi_prints_the_document_without_a_database() {
    let output = Command::new(env!("CARGO_BIN_EXE_windu"))
        .arg("openapi")
        .env_clear()
        .current_dir("/")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let description: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        description["openapi"].as_str().is_some_and(|version| version.starts_with("3.")),
        "{description}"
    );
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(description["paths"].is_object(), "{description}");
}
