//! Uploads by HTML form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Client;

/// Files of 1 to 1000 bytes below `up/`.
pub(crate) const POLICY: &str = r#"{"expiration":"2999-01-01T00:00:00Z","conditions":[{"bucket":"bucket"},["starts-with","$key","up/"],["content-length-range",1,1000],
{"x-amz-algorithm":"AWS4-HMAC-SHA256"},{"x-amz-credential":"$CREDENTIAL"},{"x-amz-date":"$DATE"}]}"#;

/// The headers and the body of a form that stores `file`.
pub(crate) fn form(
    client: &Client,
    fields: &[(&str, &str)],
    policy: &str,
    file: &[u8],
) -> (Vec<(String, String)>, Vec<u8>) {
    let date = client.signer.date();
    let policy = policy.replace("$CREDENTIAL", &client.signer.credential(&date)).replace("$DATE", &date);
    let policy = BASE64.encode(policy);
    let signature = client.signer.sign_policy(&policy, &date);
    let credential = client.signer.credential(&date);
    let signing = [
        ("policy", policy.as_str()),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &credential),
        ("x-amz-date", &date),
        ("x-amz-signature", &signature),
    ];
    let mut body = Vec::new();
    for (name, value) in fields.iter().chain(if policy.is_empty() { &[][..] } else { &signing[..] }) {
        body.extend_from_slice(
            format!("--XYZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    }
    body.extend_from_slice(b"--XYZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n");
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--XYZ--\r\n");
    let headers = vec![
        ("host".to_owned(), client.addr.to_string()),
        ("content-type".to_owned(), "multipart/form-data; boundary=XYZ".to_owned()),
    ];
    (headers, body)
}
