//! Slices with truth and prediction outlined over the image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tomoflow_connectors::RunLength;

use super::html::{Text, section};
use super::outline::outline;
use super::{BoxPicture, CasePicture, ReportError, heat, slice};

/// The number of pictures that are shown.
const SHOWN: usize = 6;
/// A detail is at least this wide, mm.
const DETAIL_MM: f64 = 30.0;
/// A detail is shown when what is outlined takes less than this share of the slice.
const DETAIL_SHARE: f64 = 0.6;

/// A detail is of boxes that are as sure as this, and of those of the truth.
const SURE: f64 = 0.5;

/// A window onto the slice, mm: left, top, width, height.
type Window = [f64; 4];

/// The section; empty when there are no pictures.
pub(super) fn pictures(cases: &[CasePicture]) -> Result<String, ReportError> {
    let mut body = String::new();
    for (index, case) in cases.iter().take(SHOWN).enumerate() {
        body.push_str(&picture(case, index)?);
    }
    if body.is_empty() {
        return Ok(body);
    }
    let heats = legend_of_heats(cases);
    let legend = "<div class=legend><span class=\"key truth\">drawn by hand</span>\
                  <span class=\"key prediction\">found by the model</span></div>";
    let lead =
        "On the left the whole slice, on the right its outlined part enlarged, both in true proportions.";
    Ok(section("Cases", lead, &format!("{legend}{heats}<div class=grid2>{body}</div>")))
}

fn legend_of_heats(cases: &[CasePicture]) -> String {
    let shown = cases.iter().take(SHOWN).flat_map(|case| &case.heats);
    heat::legend(shown.map(|heat| heat.name.as_str()))
}

fn picture(case: &CasePicture, index: usize) -> Result<String, ReportError> {
    let refuse =
        |expected: String, found: String| ReportError::Picture { case: case.case.clone(), expected, found };
    let pixels = case.rows.saturating_mul(case.columns);
    if pixels == 0 || case.pixels.len() != pixels {
        let expected = format!("{} rows of {} grey values", case.rows, case.columns);
        return Err(refuse(expected, format!("{} grey values", case.pixels.len())));
    }
    let (sh, sw) = (case.spacing_h_mm, case.spacing_w_mm);
    if !(sh.is_normal() && sw.is_normal() && sh > 0.0 && sw > 0.0) {
        return Err(refuse("a spacing above zero, in mm,".to_owned(), format!("{sh} by {sw}")));
    }
    let truth = mask(case, case.truth.as_ref(), "drawn")?;
    let prediction = mask(case, case.prediction.as_ref(), "found")?;
    let unfit =
        |error: png::EncodingError| refuse("an image that can be a PNG".to_owned(), error.to_string());
    let png = slice::encode(case, png::ColorType::Grayscale, &case.pixels).map_err(unfit)?;

    let whole = [0.0, 0.0, case.columns as f64 * sw, case.rows as f64 * sh];
    let layers = format!(
        "<symbol id=slice{index} overflow=visible>{}</symbol><symbol id=slice{index}-outlines overflow=visible>\
         <g transform=\"scale({sw} {sh})\">{}{}{}</g></symbol>",
        image(&png, whole),
        path(&truth, case.columns, "truth"),
        path(&prediction, case.columns, "prediction"),
        boxes(case),
    );
    let covered = case.boxes.iter().filter(|own| own.score.is_none_or(|score| score >= SURE));
    let covered = covered.fold(vec![false; pixels], |mut covered, own| {
        fill(&mut covered, case, own);
        covered
    });
    let detail = detail(case, &[&truth, &prediction, &covered], whole);
    let frame = detail.map_or(String::new(), |[x, y, w, h]| {
        format!("<rect class=frame x={x:.2} y={y:.2} width={w:.2} height={h:.2} />")
    });
    let view = |[x, y, w, h]: Window, symbols: &str, over: &str, what: &str| {
        format!(
            "<svg viewBox=\"{x:.2} {y:.2} {w:.2} {h:.2}\" role=img aria-label=\"{} of {}\">{symbols}\
             <use href=\"#slice{index}\" />{over}<use href=\"#slice{index}-outlines\" />",
            Text(what),
            Text(&case.case)
        )
    };
    let enlarged = detail.map_or(String::new(), |window| format!("{}</svg>", view(window, "", "", "slice")));
    let mut heats = String::new();
    for map in &case.heats {
        if map.shares.len() != pixels {
            return Err(refuse(format!("{pixels} shares of {}", map.name), map.shares.len().to_string()));
        }
        let over = image(&heat::png(case, &map.shares).map_err(unfit)?, whole);
        let view = view(detail.unwrap_or(whole), "", &over, &map.name);
        heats.push_str(&format!("<div>{view}</svg><span>{}</span></div>", Text(&map.name)));
    }
    if !heats.is_empty() {
        heats = format!("<div class=\"views heats\">{heats}</div>");
    }
    Ok(format!(
        "<figure class=slice><div class=views>{}{frame}</svg>{enlarged}</div>{heats}\
         <figcaption>{}<span class=\"dim key\">{}</span></figcaption></figure>",
        view(whole, &layers, "", "slice"),
        Text(&case.caption),
        Text(&case.case)
    ))
}

/// Boxes over the image, those of the truth last.
fn boxes(case: &CasePicture) -> String {
    let (found, truth): (Vec<&BoxPicture>, Vec<&BoxPicture>) =
        case.boxes.iter().partition(|own| own.score.is_some());
    let shown = |own: &BoxPicture| own.low.iter().chain(&own.high).all(|edge| edge.is_finite());
    let of = |(own, class): (&BoxPicture, &str)| {
        let ([y, x], [bottom, right]) = (own.low, own.high);
        let (width, height) = ((right - x).max(0.0), (bottom - y).max(0.0));
        let said = own.score.map_or(String::new(), |score| format!("<title>{score:.3}</title>"));
        format!("<rect class={class} x={x:.2} y={y:.2} width={width:.2} height={height:.2}>{said}</rect>")
    };
    let found = found.into_iter().map(|own| (own, "prediction"));
    found.chain(truth.into_iter().map(|own| (own, "truth"))).filter(|(own, _)| shown(own)).map(of).collect()
}

/// Marks the pixels of a box.
fn fill(covered: &mut [bool], case: &CasePicture, own: &BoxPicture) {
    let range = |low: f64, high: f64, length: usize| {
        let end = high.ceil().clamp(0.0, length as f64) as usize;
        (low.floor().max(0.0) as usize).min(end)..end
    };
    for row in range(own.low[0], own.high[0], case.rows) {
        for column in range(own.low[1], own.high[1], case.columns) {
            if let Some(pixel) = covered.get_mut(row * case.columns + column) {
                *pixel = true;
            }
        }
    }
}

/// A picture that fills a window.
fn image(png: &[u8], [_, _, width, height]: Window) -> String {
    format!(
        "<image href=\"data:image/png;base64,{}\" width={width} height={height} preserveAspectRatio=none />",
        STANDARD.encode(png)
    )
}

/// Returns which pixels a label covers.
fn mask(case: &CasePicture, runs: Option<&RunLength>, what: &str) -> Result<Vec<bool>, ReportError> {
    let mut slice = vec![0u16; case.pixels.len()];
    if let Some(runs) = runs {
        runs.decode(&mut slice, 1).ok_or_else(|| ReportError::Picture {
            case: case.case.clone(),
            expected: format!("runs of the label {what} within {} pixels", case.pixels.len()),
            found: "a run beyond them".to_owned(),
        })?;
    }
    Ok(slice.into_iter().map(|label| label == 1).collect())
}

fn path(mask: &[bool], columns: usize, class: &str) -> String {
    let outline = outline(mask, columns);
    if outline.is_empty() { outline } else { format!("<path class={class} d=\"{outline}\" />") }
}

/// A square window around what is outlined; `None` when that fills the slice anyway, or is nothing.
fn detail(case: &CasePicture, masks: &[&Vec<bool>], whole: Window) -> Option<Window> {
    let covered = |index: &usize| masks.iter().any(|mask| mask.get(*index).copied().unwrap_or(false));
    let mut found: Option<[usize; 4]> = None;
    for index in (0..case.pixels.len()).filter(covered) {
        let (r, c) = (index / case.columns, index % case.columns);
        let b = found.get_or_insert([r, c, r, c]);
        *b = [b[0].min(r), b[1].min(c), b[2].max(r), b[3].max(c)];
    }
    let [top, left, bottom, right] = found?;
    let (y, h) = (top as f64 * case.spacing_h_mm, (bottom - top + 1) as f64 * case.spacing_h_mm);
    let (x, w) = (left as f64 * case.spacing_w_mm, (right - left + 1) as f64 * case.spacing_w_mm);
    let side = (w.max(h) * 1.6).max(DETAIL_MM);
    if side > DETAIL_SHARE * whole[2].min(whole[3]) {
        return None;
    }
    let within = |centre: f64, size: f64| (centre - side / 2.0).clamp(0.0, size - side);
    Some([within(x + w / 2.0, whole[2]), within(y + h / 2.0, whole[3]), side, side])
}
