//! The file types that can be sent.

/// The type of a file, determined from its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    Jpeg,
    /// Also animated.
    Png,
    /// Also animated.
    Gif,
    /// Also animated.
    Webp,
    /// 3GPP with sound only.
    ThreeGpAudio,
    /// Apple's Core Audio Format.
    Caf,
    Wav,
    /// MPEG audio, layer III, also behind an ID3 tag.
    Mp3,
    /// Windows Media with sound only.
    Wma,
    /// Ogg with sound only: Vorbis, Opus, Speex or FLAC.
    Ogg,
    /// AIFF or AIFC.
    Aif,
    /// AAC in ADTS frames, also behind an ID3 tag.
    Aac,
    /// MPEG-4 with sound only, whatever its brand.
    M4a,
    /// WebM with sound only.
    WebmAudio,
    /// 3GPP with a picture track.
    ThreeGpVideo,
    /// MPEG-4 with a picture track, whatever its brand.
    Mp4,
    /// QuickTime with a picture track.
    Mov,
    Avi,
    /// WebM with a picture track.
    WebmVideo,
}

/// The kind of content of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Picture,
    /// Sound only.
    Audio,
    Video,
}

impl FileType {
    pub const ALL: [Self; 19] = [
        Self::Jpeg,
        Self::Png,
        Self::Gif,
        Self::Webp,
        Self::ThreeGpAudio,
        Self::Caf,
        Self::Wav,
        Self::Mp3,
        Self::Wma,
        Self::Ogg,
        Self::Aif,
        Self::Aac,
        Self::M4a,
        Self::WebmAudio,
        Self::ThreeGpVideo,
        Self::Mp4,
        Self::Mov,
        Self::Avi,
        Self::WebmVideo,
    ];

    #[must_use]
    pub fn mimetype(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::ThreeGpAudio => "audio/3gpp",
            Self::Caf => "audio/x-caf",
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
            Self::Wma => "audio/x-ms-wma",
            Self::Ogg => "audio/ogg",
            Self::Aif => "audio/aiff",
            Self::Aac => "audio/aac",
            Self::M4a => "audio/mp4",
            Self::WebmAudio => "audio/webm",
            Self::ThreeGpVideo => "video/3gpp",
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Avi => "video/x-msvideo",
            Self::WebmVideo => "video/webm",
        }
    }

    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::Jpeg | Self::Png | Self::Gif | Self::Webp => Family::Picture,
            Self::ThreeGpAudio
            | Self::Caf
            | Self::Wav
            | Self::Mp3
            | Self::Wma
            | Self::Ogg
            | Self::Aif
            | Self::Aac
            | Self::M4a
            | Self::WebmAudio => Family::Audio,
            Self::ThreeGpVideo | Self::Mp4 | Self::Mov | Self::Avi | Self::WebmVideo => Family::Video,
        }
    }
}
