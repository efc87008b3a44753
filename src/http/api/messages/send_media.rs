//! Sending files, locations and contact cards.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Account, Card, Content, Location, MediaContent, MediaFile, MediaKind, Reference};
use crate::http::AppState;
use crate::http::api::messages::media_quota::FileReservation;
use crate::http::api::messages::send::{SendAnswer, SendTo, Sent, check_kind, send, send_reserved};
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::params::{Degrees, RequestParameters, Text};
use crate::http::extract::recipient::CachedRecipient;
use crate::http::extract::upload::{CardUpload, Upload};
use crate::lifecycle::Deadline;
use crate::media::vcard;

/// The longest card, in characters; in bytes it may not be longer either.
const LONGEST_CARD: usize = vcard::LONGEST;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_image))
        .routes(routes!(send_video))
        .routes(routes!(send_audio))
        .routes(routes!(send_voice))
        .routes(routes!(send_location))
        .routes(routes!(send_vcard))
}

#[derive(Deserialize, ToSchema)]
struct WithCaption {
    /// The URL of the file, if the form has none.
    #[expect(dead_code, reason = "for the description: Upload reads it")]
    url: Option<String>,
    #[schema(value_type = Option<String>, max_length = 1024)]
    caption: Option<Text<1_024>>,
}

#[derive(Deserialize, ToSchema)]
struct WithoutCaption {
    /// The URL of the file, if the form has none.
    #[expect(dead_code, reason = "for the description: Upload reads it")]
    url: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct SentFile {
    /// The message's id, which its receipts name.
    message_id: String,
    /// The same as `message_id`.
    id: String,
    /// Signed; opens the file without a token for 24 h or up to an hour longer. Within an hour it stays the same.
    url: String,
    /// Base64 of the SHA-256 of the file as it is stored and sent.
    hash: String,
}

/// Sends a picture: jpg, jpeg, gif, png or webp. Its metadata is removed.
#[utoipa::path(post, path = "/api/messages/send-image/", tag = "messages",
    request_body(content = inline(SendTo<WithCaption>), content_type = "multipart/form-data"),
    responses((status = 200, body = SentFile), ApiError, (status = 404, body = Problem)))]
async fn send_image(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    upload: Upload,
    RequestParameters(body): RequestParameters<WithCaption>,
) -> SendAnswer<SentFile> {
    send_file(&state, to, claim, upload, MediaKind::Image, body.caption).await
}

/// Sends a video: 3gp, mp4, m4v, mov, avi or webm.
#[utoipa::path(post, path = "/api/messages/send-video/", tag = "messages",
    request_body(content = inline(SendTo<WithCaption>), content_type = "multipart/form-data"),
    responses((status = 200, body = SentFile), ApiError, (status = 404, body = Problem)))]
async fn send_video(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    upload: Upload,
    RequestParameters(body): RequestParameters<WithCaption>,
) -> SendAnswer<SentFile> {
    send_file(&state, to, claim, upload, MediaKind::Video, body.caption).await
}

/// Sends an audio file: 3gp, caf, wav, mp3, wma, ogg, oga, opus, aif, aac, m4a, or sound in mp4 or webm.
#[utoipa::path(post, path = "/api/messages/send-audio/", tag = "messages",
    request_body(content = inline(SendTo<WithoutCaption>), content_type = "multipart/form-data"),
    responses((status = 200, body = SentFile), ApiError, (status = 404, body = Problem)))]
async fn send_audio(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    upload: Upload,
) -> SendAnswer<SentFile> {
    send_file(&state, to, claim, upload, MediaKind::Audio, None).await
}

/// Sends a voice message: the same types as send-audio.
#[utoipa::path(post, path = "/api/messages/send-voice/", tag = "messages",
    request_body(content = inline(SendTo<WithoutCaption>), content_type = "multipart/form-data"),
    responses((status = 200, body = SentFile), ApiError, (status = 404, body = Problem)))]
async fn send_voice(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    upload: Upload,
) -> SendAnswer<SentFile> {
    send_file(&state, to, claim, upload, MediaKind::Voice, None).await
}

async fn send_file(
    state: &AppState,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    upload: Upload,
    kind: MediaKind,
    caption: Option<Text<1_024>>,
) -> SendAnswer<SentFile> {
    check_kind(state, &to.recipient.account, kind.letter())?;
    let checking = state.media.check_sendable(&upload.spooled, kind, upload.file_name.as_deref());
    let sendable = Deadline::elsewhere(checking).await?;
    let reserved = FileReservation::new(state, to.recipient.account.user, sendable.size()).await?;
    let stored = Deadline::elsewhere(state.media.store(sendable)).await?;
    let hash = stored.hash;
    let caption = caption.map(Text::into_inner).filter(|caption| !caption.is_empty());
    let content =
        Content::Media(Box::new(MediaContent { kind: Some(kind), caption, file: MediaFile::Stored(stored) }));
    // The account that sends may differ from the cached one, so the URL is made from the account.
    let answer = |account: &Account, id: String| {
        let url = state.media.url(Reference::Message(account.id), &hash);
        SentFile { message_id: id.clone(), id, url, hash: hash.base64() }
    };
    let sent = send_reserved(state, &to, &claim, content, reserved.get(), answer).await?;
    reserved.used();
    Ok(sent)
}

#[derive(Deserialize, ToSchema)]
struct SendLocation {
    /// Degrees, from -90 to 90.
    #[schema(value_type = f64, minimum = -90, maximum = 90)]
    latitude: Degrees<90>,
    /// Degrees, from -180 to 180.
    #[schema(value_type = f64, minimum = -180, maximum = 180)]
    longitude: Degrees<180>,
    #[schema(value_type = Option<String>, max_length = 1024)]
    caption: Option<Text<1_024>>,
}

/// Sends a location.
#[utoipa::path(post, path = "/api/messages/send-location/", tag = "messages",
    request_body = inline(SendTo<SendLocation>),
    responses((status = 200, body = Sent), ApiError, (status = 404, body = Problem)))]
async fn send_location(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<SendLocation>,
) -> SendAnswer<Sent> {
    let content = Content::Location(Location {
        latitude: body.latitude.0,
        longitude: body.longitude.0,
        caption: body.caption.map(Text::into_inner).filter(|caption| !caption.is_empty()),
    });
    send(&state, &to, &claim, content, Sent::new).await
}

#[derive(Deserialize, ToSchema)]
struct SendCard {
    /// The card, or a file `filename` in a multipart form.
    #[schema(value_type = Option<String>, max_length = 393_216)]
    vcard: Option<Text<LONGEST_CARD>>,
    /// The name to show; without it, the name in the card.
    #[schema(value_type = Option<String>, max_length = 256)]
    name: Option<Text<256>>,
}

/// Sends a contact card: a vCard, as text or as a file.
#[utoipa::path(post, path = "/api/messages/send-vcard/", tag = "messages",
    request_body = inline(SendTo<SendCard>),
    responses((status = 200, body = Sent), ApiError, (status = 404, body = Problem)))]
async fn send_vcard(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    CardUpload(file): CardUpload,
    RequestParameters(body): RequestParameters<SendCard>,
) -> SendAnswer<Sent> {
    let text = match (file, body.vcard) {
        (Some(text), _) => text,
        (None, Some(vcard)) => vcard.into_inner(),
        (None, None) => {
            return Err(ApiError::bad_request(
                ErrorCode::MissingParameter,
                "vcard is missing: send it as text, or as a file filename",
            ));
        }
    };
    let card = vcard::read(&text)
        .map_err(|error| ApiError::bad_request(ErrorCode::InvalidParameter, format!("vcard: {error}")))?;
    let name = body.name.map(Text::into_inner).filter(|name| !name.is_empty()).or(card.name);
    let name = name.map(|name| name.chars().take(256).collect());
    send(&state, &to, &claim, Content::VCard(Card { vcard: text, name }), Sent::new).await
}
