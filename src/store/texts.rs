//! Texts that many rows have in common, each once in memory.

use std::collections::HashSet;
use std::sync::Arc;

use super::FigureRow;

/// Texts that are in memory: names of labels and metrics, units, scanners, descriptions.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// A text that is in memory already takes the place of the same one.
    pub fn share(&mut self, text: &mut Arc<str>) {
        match self.0.get(&**text) {
            Some(known) => *text = known.clone(),
            None => _ = self.0.insert(text.clone()),
        }
    }

    /// The same for all texts of figures that nobody else holds yet.
    pub fn share_figures(&mut self, figures: &mut Arc<[FigureRow]>) {
        for figure in Arc::get_mut(figures).into_iter().flatten() {
            let FigureRow { label, metric, value: _, unit, state: _ } = figure;
            [label, metric, unit].into_iter().for_each(|text| self.share(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_held_once() {
        let mut texts = Texts::default();
        let figure = || FigureRow {
            label: "tumour".into(),
            metric: "dice".into(),
            value: None,
            unit: "1".into(),
            state: crate::metrics::State::OK,
        };
        let (mut one, mut two): (Arc<[FigureRow]>, Arc<[FigureRow]>) = ([figure()].into(), [figure()].into());
        assert!(!Arc::ptr_eq(&one[0].metric, &two[0].metric));
        texts.share_figures(&mut one);
        texts.share_figures(&mut two);
        assert!(Arc::ptr_eq(&one[0].metric, &two[0].metric) && one == two);
        assert_ne!(one[0].label, one[0].metric);
    }
}
