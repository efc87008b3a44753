//! `multipart/form-data`. A part with a file name is a file, each other one a parameter; a part's own content type
//! is ignored, because curl guesses it.

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Multipart, Request};
use http::header;
use serde_json::{Map, Value};

use super::body::malformed;
use super::form;
use crate::http::error::ApiError;

/// A file of a form.
#[derive(Clone)]
pub struct File {
    /// The parameter's name.
    pub name: String,
    /// What the caller calls the file; never used as a path.
    pub file_name: String,
    /// The bytes.
    pub content: Bytes,
}

/// The parameters, of a repeated name the last, and the files.
///
/// # Errors
/// 400 for a broken form, for a part without a name, and for what is not UTF-8 or holds a NUL.
pub async fn parse(content_type: &str, body: Bytes) -> Result<(Map<String, Value>, Vec<File>), ApiError> {
    let (pairs, files) = parts(content_type, body).await?;
    Ok((pairs.into_iter().map(|(name, value)| (name, value.into())).collect(), files))
}

/// The parameters in order, repeated ones too, and the files.
///
/// # Errors
/// As for [`parse`].
pub async fn parts(content_type: &str, body: Bytes) -> Result<(Vec<(String, String)>, Vec<File>), ApiError> {
    let broken = || malformed("the body is no multipart form, or its boundary is missing");
    let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(body.into());
    let request = request.map_err(|_| broken())?;
    let mut multipart = Multipart::from_request(request, &()).await.map_err(|_| broken())?;
    let (mut pairs, mut files) = (Vec::new(), Vec::new());
    let mut count = 0;
    while let Some(field) = multipart.next_field().await.map_err(|_| broken())? {
        count += 1;
        if count > form::MOST {
            return Err(form::too_many());
        }
        let Some(name) = field.name() else { return Err(malformed("a part of the form has no name")) };
        let name = form::text(name.as_bytes().to_vec())?;
        let file_name = field.file_name().map(|name| form::text(name.as_bytes().to_vec())).transpose()?;
        let content = field.bytes().await.map_err(|_| broken())?;
        match file_name {
            Some(file_name) => files.push(File { name, file_name, content }),
            None => pairs.push((name, form::text(content.to_vec())?)),
        }
    }
    Ok((pairs, files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TYPE: &str = "multipart/form-data; boundary=X";

    fn part(headers: &str, content: &str) -> String {
        format!("--X\r\nContent-Disposition: form-data; {headers}\r\n\r\n{content}\r\n")
    }

    async fn parsed(body: String) -> Result<(Value, Vec<File>), &'static str> {
        let (values, files) = parse(TYPE, body.into()).await.map_err(|error| error.code())?;
        Ok((Value::Object(values), files))
    }

    #[tokio::test]
    async fn parts_are_parameters_or_files() {
        let body = [
            part("name=\"a\"", "1"),
            part("name=\"a\"", "é & 2"),
            part("name=\"t\"\r\nContent-Type: text/plain; charset=latin1", "text"),
            part("name=\"photo\"; filename=\"a.jpg\"\r\nContent-Type: application/octet-stream", "bytes"),
            part("name=\"empty\"; filename=\"\"", ""),
            "--X--\r\n".to_owned(),
        ];
        let (values, files) = parsed(body.concat()).await.expect("a form");
        assert_eq!(values, json!({"a": "é & 2", "t": "text"}));
        assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["photo", "empty"]);
        assert_eq!((&files[0].file_name[..], &files[0].content[..]), ("a.jpg", &b"bytes"[..]));
    }

    #[tokio::test]
    async fn broken_forms_are_refused() {
        let end = "--X--\r\n";
        for body in [
            "nothing".to_owned(),
            part("name=\"a\"", "1"),
            part("filename=\"a\"", "1") + end,
            part("name=\"a\"", "\0") + end,
            part("name=\"a\"", "1").replace("\r\n\r\n", "\r\n") + end,
            part("name=\"a\"", "1").repeat(form::MOST + 1) + end,
        ] {
            assert_eq!(
                parsed(body.clone()).await.err(),
                Some("malformed"),
                "{:?}",
                &body[..body.len().min(80)]
            );
        }
        assert!(parse("multipart/form-data", Bytes::from_static(b"--X--\r\n")).await.is_err());
        let not_text = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--X--\r\n";
        assert!(parse(TYPE, Bytes::from_static(not_text)).await.is_err());
    }
}
