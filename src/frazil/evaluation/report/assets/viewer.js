// The 3D viewer: NiiVue is unpacked and started when the reader comes near it. Volumes are gzipped NPY files of bytes in base64.
"use strict";
(() => {
  const HEADER_BYTES = 128; // of an NPY file with so short a header
  const find = (id) => document.getElementById(id);
  const box = find("viewer-box"), state = find("v-state"), select = find("v-volume");
  const surface = find("v-surface"), core = find("v-core"), cut = find("v-cut");
  const say = (text) => { state.textContent = text; };
  const low = Number(box.dataset.low), high = Number(box.dataset.high);
  let slices, render, bytes, started = false;

  find("v-without").remove();
  box.hidden = false;

  async function unpacked(id) {
    const packed = Uint8Array.from(atob(find(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  // particles are dark: the surface is that of the negated volume, within a sphere about the center of the box
  function negated(source, share) {
    const copy = source.slice(0), voxels = new Uint8Array(copy, HEADER_BYTES);
    const edge = Math.round(Math.cbrt(voxels.length)), middle = edge / 2;
    const radius = share >= 1 ? Infinity : share * middle;
    let at = 0;
    for (let z = 0; z < edge; z++) for (let y = 0; y < edge; y++) for (let x = 0; x < edge; x++, at++) {
      const inside = Math.hypot(x - middle, y - middle + 1, z - middle + 1) <= radius; // z and y are reversed
      voxels[at] = inside ? 255 - voxels[at] : 0;
    }
    return copy;
  }

  async function replace(viewer, content, options) {
    const file = new File([content], "volume.npy");
    const image = await niivue.NVImage.loadFromFile({ file, name: "volume.npy", ...options });
    while (viewer.volumes.length) viewer.removeVolumeByIndex(0);
    viewer.addVolume(image);
  }

  function level() {
    find("v-surface-out").textContent = `${surface.value.replace("-", "−")} σ`;
    const grey = 255 / (high - low), least = (high - Number(surface.value)) * grey;
    return { cal_min: least, cal_max: least + 0.7 * grey };
  }

  function showRender() {
    find("v-core-out").textContent = core.value === "100" ? "all" : `${core.value} %`;
    return replace(render, negated(bytes, Number(core.value) / 100), { colormap: "surface", ...level() });
  }

  function showSurface() {
    if (!render.volumes.length) return;
    Object.assign(render.volumes[0], level());
    render.updateGLVolume();
  }

  function showCut() {
    const share = Number(cut.value) / 100;
    find("v-cut-out").textContent = share ? `${cut.value} %` : "closed";
    // depth runs over the cube's edge of 1 about its center; 2 is no cut
    render.setClipPlane(share ? [0.5 - share, 200, 20] : [2, 0, 0]);
  }

  async function show() {
    const place = select.value;
    bytes = await unpacked(`volume-${place}`);
    await replace(slices, bytes, { colormap: "gray", cal_min: 0, cal_max: 255 });
    await showRender();
    box.dataset.shown = place;
    say("");
  }

  async function start() {
    if (started) return;
    started = true;
    if (!("DecompressionStream" in window)) return say("This browser is too old for the viewer. The slices in the gallery show the same volumes.");
    if (!document.createElement("canvas").getContext("webgl2")) return say("This browser has no WebGL 2, which the viewer needs. The slices in the gallery show the same volumes.");
    try {
      const script = document.createElement("script");
      script.textContent = new TextDecoder().decode(await unpacked("niivue"));
      document.head.append(script);
      const common = { isOrientationTextVisible: false, isRadiologicalConvention: false, logLevel: "error", dragAndDropEnabled: false, loadingText: "", isResizeCanvas: true };
      slices = new niivue.Niivue({ ...common, backColor: [1, 1, 1, 1], sliceType: niivue.SLICE_TYPE.MULTIPLANAR, multiplanarLayout: niivue.MULTIPLANAR_TYPE.ROW, multiplanarShowRender: niivue.SHOW_RENDER.NEVER, isNearestInterpolation: true, crosshairWidth: 0.12 });
      render = new niivue.Niivue({ ...common, backColor: [0.965, 0.97, 0.975, 1], sliceType: niivue.SLICE_TYPE.RENDER, crosshairWidth: 0, forceDevicePixelRatio: 1 });
      await slices.attachToCanvas(find("v-slices"));
      await render.attachToCanvas(find("v-render"));
      render.addColormap("surface", { R: [60, 105, 150], G: [85, 135, 175], B: [115, 165, 200], A: [0, 150, 255], I: [0, 60, 255] });
      render.setRenderAzimuthElevation(205, 20);
      render.setScale(1.5);
      slices.setCrosshairColor([1, 0.75, 0, 0.8]);
      showCut();
      // before there is a volume: each further step would draw it again, which takes seconds without a graphics card
      await render.setVolumeRenderIllumination(0.6);
      await show();
    } catch (fault) {
      say(`The viewer could not start (${fault.message}). The slices in the gallery show the same volumes.`);
    }
  }

  function step(by) {
    const count = select.options.length;
    select.selectedIndex = (select.selectedIndex + by + count) % count;
    select.dispatchEvent(new Event("change"));
  }

  // a slider reports every step; one drawing per frame is enough
  const guarded = (action) => {
    let waiting = false;
    return () => {
      if (waiting || !bytes) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        Promise.resolve().then(action).catch((fault) => say(fault.message));
      });
    };
  };
  select.addEventListener("change", guarded(show));
  surface.addEventListener("input", guarded(showSurface));
  core.addEventListener("change", guarded(showRender));
  cut.addEventListener("input", guarded(showCut));
  find("v-previous").addEventListener("click", () => step(-1));
  find("v-next").addEventListener("click", () => step(1));
  for (const link of document.querySelectorAll("a[data-volume]")) {
    link.addEventListener("click", () => {
      select.value = link.dataset.volume;
      select.dispatchEvent(new Event("change"));
    });
  }
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) start(); }, { rootMargin: "400px" }).observe(box);
})();
