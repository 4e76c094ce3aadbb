//! How outcomes lie in the cache: as they did before they had notes, with the notes behind them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Reject};

use super::outcome::{FigureRow, Outcome, Recorded};

/// An outcome without its notes.
#[derive(Serialize, Deserialize)]
enum Kept {
    Ok { artifact: Digest, detail: Option<Digest>, figures: Arc<[FigureRow]> },
    Failed { code: String, message: String, hint: String, lasting: bool, attempts: u32 },
}

/// The bytes of an outcome: of one without notes the same as ever.
pub(super) fn encode(recorded: &Recorded) -> postcard::Result<Vec<u8>> {
    let (kept, notes) = match recorded.outcome.clone() {
        Outcome::Ok { artifact, detail, figures, notes } => (Kept::Ok { artifact, detail, figures }, notes),
        Outcome::Failed { code, message, hint, lasting, attempts } => {
            (Kept::Failed { code, message, hint, lasting, attempts }, Arc::default())
        }
    };
    let mut bytes = postcard::to_stdvec(&(kept, recorded.seconds))?;
    if !notes.is_empty() {
        bytes.extend(postcard::to_stdvec(&notes)?);
    }
    Ok(bytes)
}

/// What [`encode`] gave.
pub(super) fn decode(bytes: &[u8]) -> postcard::Result<Recorded> {
    let ((kept, seconds), rest): ((Kept, f64), _) = postcard::take_from_bytes(bytes)?;
    let (notes, rest): (Arc<[Reject]>, &[u8]) =
        if rest.is_empty() { (Arc::default(), rest) } else { postcard::take_from_bytes(rest)? };
    if !rest.is_empty() {
        return Err(postcard::Error::DeserializeBadEncoding);
    }
    let outcome = match kept {
        Kept::Ok { artifact, detail, figures } => Outcome::Ok { artifact, detail, figures, notes },
        Kept::Failed { code, message, hint, lasting, attempts } => {
            Outcome::Failed { code, message, hint, lasting, attempts }
        }
    };
    Ok(Recorded { outcome, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_lie_behind_what_was_kept_before_there_were_any() {
        let (artifact, figures) = (Digest::of(b"mask"), Arc::default());
        let recorded = |notes: Arc<[Reject]>| Recorded {
            outcome: Outcome::Ok { artifact, detail: Some(artifact), figures: Arc::clone(&figures), notes },
            seconds: 0.25,
        };
        let without = encode(&recorded(Arc::default())).unwrap();
        let before = postcard::to_stdvec(&(0u32, artifact, Some(artifact), &figures, 0.25)).unwrap();
        assert_eq!(without, before);
        let noted = recorded([Reject::new("LABEL_VALUE", "a", "b")].into());
        let with = encode(&noted).unwrap();
        assert_eq!((&with[..without.len()], decode(&with).unwrap()), (&*without, noted));
        assert_eq!(decode(&without).unwrap(), recorded(Arc::default()));
        assert!((without.len() + 1..with.len()).all(|end| decode(&with[..end]).is_err()));
    }
}
