//! The frame of a picture: its components, and of each block the coefficients that the decoder keeps.

/// The most memory for the coefficients of one picture, in bytes.
const MOST_COEFFICIENTS: usize = 56 << 20;

/// The index within a block, by the place in the order of the file (ITU-T T.81, figure A.6).
pub const NATURAL: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// In [`Frame::places`]: a coefficient that is not kept.
const DROPPED: u8 = u8::MAX;

/// A picture that is decoded at `side`/8 of its size: of the 64 coefficients of a block it keeps the lowest
/// `side`·`side` frequencies.
pub struct Frame {
    pub progressive: bool,
    /// In pixels of the whole picture.
    pub width: usize,
    pub height: usize,
    /// 1, 2, 4 or 8.
    pub side: usize,
    /// The largest sampling factors, across and down.
    pub most: (usize, usize),
    /// Groups of blocks that are coded together, across and down.
    pub groups: (usize, usize),
    pub components: Vec<Component>,
    /// The place of each coefficient, in the order of the file, among those that are kept.
    places: [u8; 64],
}

/// One component: brightness or a colour.
pub struct Component {
    pub id: u8,
    /// The sampling factors: blocks in a group, across and down.
    pub sampling: (usize, usize),
    pub table: usize,
    /// The quantisation when the component's first scan began, in the order of the file.
    pub quantisation: Option<[u16; 64]>,
    /// Blocks in a row, with those that fill the last group.
    pub columns: usize,
    /// Blocks of the picture alone, across and down.
    pub blocks: (usize, usize),
    /// The coefficients that are kept, block for block.
    pub coefficients: Vec<i16>,
    /// One bit for each coefficient that is not zero, in progressive pictures.
    pub nonzero: Vec<u64>,
    /// The last constant coefficient, from which the next one is a difference.
    pub predicted: i32,
}

impl Frame {
    /// The frame that a segment describes, at the smallest size whose longest side has `least` pixels; `None` when it is
    /// malformed or of a kind that is not decoded.
    pub fn parse(segment: &[u8], progressive: bool, least: usize) -> Option<Self> {
        let [8, a, b, c, d, count, parts @ ..] = segment else { return None };
        let (height, width) =
            (usize::from(*a) << 8 | usize::from(*b), usize::from(*c) << 8 | usize::from(*d));
        let alone = *count == 1;
        if width == 0 || height == 0 || !matches!(count, 1 | 3 | 4) {
            return None;
        }
        let components = parts.chunks_exact(3).take(usize::from(*count)).map(|part| {
            let sampling = (usize::from(part[1] >> 4), usize::from(part[1] & 15));
            let valid = (1..=4).contains(&sampling.0) && (1..=4).contains(&sampling.1) && part[2] < 4;
            // The blocks of a component that is alone follow each other one by one, whatever its factors.
            let sampling = if alone { (1, 1) } else { sampling };
            valid.then(|| Component::new(part[0], sampling, usize::from(part[2])))
        });
        let components = components.collect::<Option<Vec<Component>>>()?;
        if components.len() != usize::from(*count) {
            return None;
        }
        let most = components.iter().fold((1, 1), |most, component| {
            (most.0.max(component.sampling.0), most.1.max(component.sampling.1))
        });
        let groups = (width.div_ceil(8 * most.0), height.div_ceil(8 * most.1));
        let mut frame =
            Self { progressive, width, height, side: 8, most, groups, components, places: [DROPPED; 64] };
        for component in &mut frame.components {
            component.columns = groups.0 * component.sampling.0;
            component.blocks = (
                (width * component.sampling.0).div_ceil(8 * most.0),
                (height * component.sampling.1).div_ceil(8 * most.1),
            );
        }
        let longest = width.max(height);
        frame.reduce([1, 2, 4].into_iter().find(|side| (longest * side) / 8 >= least).unwrap_or(8));
        Some(frame)
    }

    /// The size in pixels as it is decoded.
    pub fn size(&self) -> (usize, usize) {
        ((self.width * self.side).div_ceil(8), (self.height * self.side).div_ceil(8))
    }

    /// Chooses a smaller size when the coefficients of the whole picture would take too much memory.
    pub fn fit(&mut self) {
        while self.side > 1 && self.memory() > MOST_COEFFICIENTS {
            self.reduce(self.side / 2);
        }
    }

    fn reduce(&mut self, side: usize) {
        self.side = side;
        for (place, natural) in self.places.iter_mut().zip(NATURAL) {
            let (row, column) = (usize::from(natural / 8), usize::from(natural % 8));
            let kept = row < side && column < side;
            *place = if kept { u8::try_from(row * side + column).unwrap_or(DROPPED) } else { DROPPED };
        }
    }

    /// Bytes for the coefficients of the whole picture.
    pub fn memory(&self) -> usize {
        let blocks: usize =
            self.components.iter().map(|each| each.columns * self.groups.1 * each.sampling.1).sum();
        blocks * (self.side * self.side * size_of::<i16>() + size_of::<u64>())
    }

    /// Makes room for the coefficients of so many rows of groups, all zero.
    pub fn reserve(&mut self, rows: usize) {
        for component in &mut self.components {
            let blocks = component.columns * component.sampling.1 * rows;
            component.coefficients.clear();
            component.coefficients.resize(blocks * self.side * self.side, 0);
            component.nonzero.clear();
            component.nonzero.resize(if self.progressive { blocks } else { 0 }, 0);
        }
    }

    /// The kept coefficient at a place in the order of the file.
    pub fn coefficient(&mut self, component: usize, block: usize, place: usize) -> Option<&mut i16> {
        let place = self.places[place & 63];
        if place == DROPPED {
            return None;
        }
        let at = block * self.side * self.side + usize::from(place);
        self.components[component].coefficients.get_mut(at)
    }
}

impl Component {
    fn new(id: u8, sampling: (usize, usize), table: usize) -> Self {
        Self {
            id,
            sampling,
            table,
            quantisation: None,
            columns: 0,
            blocks: (0, 0),
            coefficients: Vec::new(),
            nonzero: Vec::new(),
            predicted: 0,
        }
    }
}
