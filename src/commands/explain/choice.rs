//! What of an explanation the arguments ask for.

use clap::ValueEnum;

use crate::cli::{ChannelChoice, ExplainArgs, View as ViewArg};
use crate::commands::failure::UsageError;
use crate::data::DatasetInfo;
use crate::render::figures::Pixel;
use crate::render::{Explanation, Method, View};
use crate::suggest::nearest;

/// Feature maps that are shown unless told.
const MAPS: usize = 9;
/// Channels of the heat map, likewise.
const HEAT_MAPS: usize = 3;

pub fn view(args: &ExplainArgs) -> View {
    match (args.view, args.channels) {
        (ViewArg::Maps, ChannelChoice::First) => View::Maps,
        (ViewArg::Maps, ChannelChoice::Active) => View::ActiveMaps,
        (ViewArg::Gradcam, _) => View::Evidence(Method::GradCam),
        (ViewArg::GradcamPlusPlus, _) => View::Evidence(Method::GradCamPlusPlus),
        (ViewArg::HeatMap, _) => View::HeatMap,
        (ViewArg::Attention, _) => View::Attention,
    }
}

/// How many channels are shown at most.
pub fn channels(args: &ExplainArgs) -> Result<usize, UsageError> {
    let default = match (args.view, args.count) {
        (ViewArg::Maps, _) => MAPS,
        (ViewArg::HeatMap, _) => HEAT_MAPS,
        (ViewArg::Gradcam | ViewArg::GradcamPlusPlus | ViewArg::Attention, None) => 0,
        (view, Some(count)) => {
            let view = view.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
            let advice = format!("--view {view} shows no channels; --view maps and --view heat-map do");
            return Err(UsageError(format!("--count {count}: {advice}")));
        }
    };
    Ok(args.count.map_or(default, usize::from))
}

/// Whether there is anything to show of the layer of that index.
pub fn check_attention(explanation: &Explanation, layer: usize) -> Result<(), UsageError> {
    let layer = &explanation.layers[layer];
    if layer.attends() {
        return Ok(());
    }
    let attending = explanation.layers.iter().filter(|layer| layer.attends()).map(|layer| layer.name.as_str());
    let attending: Vec<&str> = attending.collect();
    let why = match attending.as_slice() {
        [] => "the run has no attention (model.attention = none)".to_owned(),
        names => format!("{} has no attention, but --layer {}", layer.name, names.join(" and --layer ")),
    };
    Err(UsageError(format!("--view attention: {why}; --view heat-map shows the most active channels over the image")))
}

/// The class that a heat map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Predicted,
    True,
    Number(usize),
}

pub fn parse_class(text: &str, classes: &[String]) -> Result<Class, UsageError> {
    let by_name = classes.iter().position(|name| name == text);
    match (text, by_name.or_else(|| text.parse().ok())) {
        ("predicted", _) => Ok(Class::Predicted),
        ("true", _) => Ok(Class::True),
        (_, Some(class)) if class < classes.len() => Ok(Class::Number(class)),
        _ => {
            let known = classes.iter().map(String::as_str).chain(["predicted", "true"]);
            let meant = nearest(text, known).first().map_or(String::new(), |name| format!("; did you mean {name}?"));
            Err(UsageError(format!(
                "--class {text}: must be predicted, true, a number from 0 to {}, or one of {}{meant}",
                classes.len().saturating_sub(1),
                classes.join(", ")
            )))
        }
    }
}

pub fn parse_pixel(text: &str, dataset: &DatasetInfo) -> Result<Pixel, UsageError> {
    let &DatasetInfo { width, height, .. } = dataset;
    let numbers = text.split_once(',').and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
    numbers.filter(|&(x, y): &Pixel| x < width && y < height).ok_or_else(|| {
        let (middle_x, middle_y) = middle(dataset);
        UsageError(format!(
            "--pixel {text}: must be X,Y, a column and a row of the image from 0,0 to {},{}, such as {middle_x},{middle_y}",
            width - 1,
            height - 1
        ))
    })
}

pub fn middle(dataset: &DatasetInfo) -> Pixel {
    (dataset.width / 2, dataset.height / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_is_two_numbers_within_the_image() {
        let dataset = DatasetInfo { width: 40, ..DatasetInfo::cifar10() };
        let parse = |text| parse_pixel(text, &dataset);
        assert_eq!((parse("39,31").unwrap(), parse("7, 8").unwrap()), ((39, 31), (7, 8)));
        for wrong in ["", "3", "3,", "40,0", "0,32", "-1,4", "1,2,3", "a,b"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--pixel {wrong}: must be X,Y, ")), "{error}");
            assert!(error.contains("0,0 to 39,31, such as 20,16"), "{error}");
        }
    }

    #[test]
    fn a_class_by_number_name_or_role() {
        let parse = |text| parse_class(text, &DatasetInfo::cifar10().classes);
        assert_eq!((parse("predicted").unwrap(), parse("true").unwrap()), (Class::Predicted, Class::True));
        assert_eq!((parse("3").unwrap(), parse("cat").unwrap()), (Class::Number(3), Class::Number(3)));
        for wrong in ["10", "-1", "", "Cat"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--class {wrong}: must be ")) && error.contains("airplane"), "{error}");
        }
        assert!(parse("catt").unwrap_err().to_string().ends_with("did you mean cat?"));
    }
}
