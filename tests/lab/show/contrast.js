// Every text on the page whose contrast with what lies behind it is too small: 4.5, or 3 where it is large
() => {
  const rgb = colour => {
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].map(c => c / 255);
  };
  const light = colour => {
    const [r, g, b] = colour.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const over = (top, below, alpha) => below.map((c, i) => alpha * top[i] + (1 - alpha) * c);
  const behind = element => {
    const found = [];
    for (let e = element; e; e = e.parentElement) found.unshift(getComputedStyle(e).backgroundColor);
    return found.map(rgb).reduce((below, c) => over(c, below, c[3]), [1, 1, 1]);
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.textContent.trim() || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName) || !element.getClientRects().length) continue;
    const svg = element instanceof SVGElement, colour = rgb(svg ? style.fill : style.color);
    const box = behind(svg ? element.closest("svg").parentElement : element);
    const text = over(colour, box, colour[3] * Number(style.opacity));
    const [a, b] = [light(text), light(box)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), scale = svg ? element.closest("svg").getScreenCTM().a : 1;
    const large = size * scale >= 24 || (size * scale >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) bad.push(`${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)} (${element.getAttribute("class")})`);
  }
  return [...new Set(bad)];
}
