// Arithmetic over a few vectors.

/** @param {number[]} a @param {number[]} b */
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/**
 * Cosines of all pairs.
 * @param {number[][]} vectors n of them
 * @returns {number[][]} n x n
 */
export function cosines(vectors) {
  const lengths = vectors.map((v) => Math.sqrt(dot(v, v)) || 1);
  return vectors.map((a, i) => vectors.map((b, j) => dot(a, b) / (lengths[i] * lengths[j])));
}

/**
 * Principal component analysis: the places of vectors on the two axes along which they vary most.
 *
 * The n x n matrix of products of centred vectors has the same eigenvalues as their covariance and
 * is far smaller; its eigenvectors times the roots of the eigenvalues are the places. They come by
 * Jacobi's rotations, which make one element off the diagonal zero at a time.
 * @param {number[][]} vectors n of them
 * @returns {{points: [number, number][], shares: [number, number]}} Shares of the variance.
 */
export function principal(vectors) {
  const n = vectors.length;
  const mean = vectors[0].map((_, d) => vectors.reduce((sum, v) => sum + v[d], 0) / n);
  const centred = vectors.map((v) => v.map((value, d) => value - mean[d]));
  const a = centred.map((x) => centred.map((y) => dot(x, y)));
  const basis = a.map((_, i) => a.map((_, j) => Number(i === j)));
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (Math.abs(a[p][q]) < 1e-14) continue;
        const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        for (let k = 0; k < n; k++) {
          [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
          [basis[k][p], basis[k][q]] = [c * basis[k][p] - s * basis[k][q], s * basis[k][p] + c * basis[k][q]];
        }
        for (let k = 0; k < n; k++) {
          [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
        }
      }
    }
  }
  const values = a.map((row, i) => Math.max(0, row[i]));
  const total = values.reduce((sum, value) => sum + value, 0) || 1;
  const [first, second = first] = values.map((_, i) => i).sort((i, j) => values[j] - values[i]);
  const axis = (which) => {
    const found = basis.map((row) => row[which] * Math.sqrt(values[which]));
    // Signs are arbitrary: the farthest point lies to the right, or above.
    const far = found.reduce((best, x) => (Math.abs(x) > Math.abs(best) + 1e-9 ? x : best), 0);
    return far < 0 ? found.map((x) => -x) : found;
  };
  const [xs, ys] = [axis(first), axis(second)];
  return {
    points: xs.map((x, i) => [x, ys[i]]),
    shares: [values[first] / total, values[second] / total],
  };
}
