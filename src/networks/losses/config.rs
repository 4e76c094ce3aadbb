//! What a configuration of losses is made from: a line for each of them.

/// Makes the configuration, the fields and the documentation of losses from a line for each: its name in pipeline
/// files, its variant, and its type in the module that declares it.
macro_rules! losses {
    ($($name:literal => $Tag:ident: $module:ident::$Loss:ident,)+) => {
        $(pub use $module::$Loss;)+

        /// What training minimises, from the softmax of the logits. Overlap losses count the background as a class,
        /// except [`DiceCe`](Self::DiceCe) as nnU-Net has it.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type")]
        pub enum LossConfig {
            $(
                #[doc = concat!("`", $name, "`")]
                #[serde(rename = $name)]
                $Tag($module::$Loss),
            )+
            /// A loss of a downstream crate.
            #[serde(untagged)]
            Own($crate::networks::Named),
        }

        impl LossConfig {
            /// The loss, or the name of one that another crate brings.
            fn known(&self) -> Result<&dyn SegmentationLoss, &str> {
                match self {
                    $(Self::$Tag(loss) => Ok(loss),)+
                    Self::Own(named) => Err(&named.name),
                }
            }
        }

        /// The names of losses, each with what is set beside it.
        pub(crate) const FIELDS: &[(&str, &[$crate::fields::Field])] = &[$(($name, $module::FIELDS)),+];

        /// The documentation of all losses.
        pub(crate) const DOC: &str =
            $crate::fields::text::joined!(&["The loss that training minimises.", $(" `", $name, "`: ", $module::DOC, "."),+]);
    };
}
pub(super) use losses;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{DOC, FIELDS, LossConfig};

    #[test]
    fn every_loss_is_read_from_the_defaults_of_its_fields() {
        for (name, fields) in FIELDS {
            let mut config = json!({ "type": name });
            for field in *fields {
                let crate::fields::Default::Json(text) = field.default else { continue };
                config[field.name] = serde_json::from_str(text).unwrap();
            }
            let loss: LossConfig = serde_json::from_value(config.clone()).unwrap();
            assert!(loss.known().is_ok(), "{loss:?}");
            assert!(DOC.contains(&format!("`{name}`: ")));
        }
    }

    /// Checkpoints know the settings that they belong to by these bytes.
    #[test]
    fn what_is_written_of_a_loss_stays() {
        let written = [
            r#"{"type":"dice"}"#,
            r#"{"type":"generalized_dice"}"#,
            r#"{"type":"generalized_dice","absent":"skip"}"#,
            r#"{"type":"hardness_dice","lambda":0.6}"#,
            r#"{"type":"cross_entropy"}"#,
            r#"{"type":"focal","gamma":2.0,"alpha":0.25}"#,
            r#"{"type":"focal","gamma":2.0,"alpha":null}"#,
            r#"{"type":"dice_ce","include_background":false}"#,
            r#"{"type":"mine","sharp":1}"#,
        ];
        for text in written {
            let loss: LossConfig = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&loss).unwrap(), text);
        }
    }
}
